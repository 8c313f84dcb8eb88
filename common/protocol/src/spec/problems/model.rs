//! Rules of `[model.…]`, and of the model against the data.

use super::{Rules, Sections};
use crate::spec::{CnnSpec, CustomSpec, DataSpec, GptSpec, ModelSpec, Positions, SourceSpec};

/// The most layers of any kind of model.
const LAYERS_MAX: u64 = 128;

/// The widest layer of any kind of model.
const WIDTH_MAX: u64 = 65_536;

/// The largest convolution kernel's side.
const KERNEL_MAX: u64 = 31;

/// The most bytes of sample text.
const SAMPLE_BYTES_MAX: u64 = 65_536;

/// The most bytes in a prompt.
const PROMPT_BYTES_MAX: usize = 4_096;

pub(super) fn check(sections: &Sections<'_>, rules: &mut Rules) {
    let Some(model) = sections.model else { return };
    match model {
        ModelSpec::Linear(_) => {}
        ModelSpec::Mlp(mlp) => {
            layers("model.mlp.hidden", &mlp.hidden, rules);
            rules.share_below_one("model.mlp.dropout", mlp.dropout);
        }
        ModelSpec::Cnn(cnn) => convolutional(cnn, rules),
        ModelSpec::Gpt(gpt) => transformer(gpt, rules),
        ModelSpec::Custom(custom) => own(custom, rules),
    }
    if let Some((data, source)) = sections.data.and_then(|data| Some((data, data.source()?))) {
        against_data(model, data, source, rules);
    }
}

fn layers(path: &str, widths: &[usize], rules: &mut Rules) {
    rules.require(widths.len() as u64 <= LAYERS_MAX, [path], || {
        format!("`{path}` must have at most {LAYERS_MAX} layers, got {}", widths.len())
    });
    if let Some(width) = widths.iter().find(|&&width| !(1..=WIDTH_MAX).contains(&(width as u64))) {
        rules.require(false, [path], || {
            format!("`{path}` must hold widths from 1 to {WIDTH_MAX}, got {width}")
        });
    }
}

fn convolutional(cnn: &CnnSpec, rules: &mut Rules) {
    layers("model.cnn.channels", &cnn.channels, rules);
    rules.require(!cnn.channels.is_empty(), ["model.cnn.channels"], || {
        "`model.cnn.channels` must hold the channels of at least one block, got none".to_owned()
    });
    layers("model.cnn.hidden", &cnn.hidden, rules);
    let kernel = cnn.kernel;
    let fits = kernel % 2 == 1 && kernel as u64 <= KERNEL_MAX;
    rules.require(fits, ["model.cnn.kernel"], || {
        format!("`model.cnn.kernel` must be an odd number from 1 to {KERNEL_MAX}, got {kernel}")
    });
    rules.share_below_one("model.cnn.dropout", cnn.dropout);
}

fn transformer(gpt: &GptSpec, rules: &mut Rules) {
    let GptSpec { layers, heads, width, .. } = *gpt;
    rules.whole("model.gpt.layers", layers, 1..=LAYERS_MAX);
    rules.whole("model.gpt.heads", heads, 1..=WIDTH_MAX);
    rules.whole("model.gpt.width", width, 1..=WIDTH_MAX);
    let divides = heads == 0 || width.is_multiple_of(heads);
    rules.require(divides, ["model.gpt.heads", "model.gpt.width"], || {
        format!("`model.gpt.heads` must divide the width: {heads} heads cannot share {width} equally")
    });
    let rope = gpt.positions == Positions::Rope && heads > 0 && divides;
    rules.require(
        !rope || (width / heads).is_multiple_of(2),
        ["model.gpt.width", "model.gpt.heads", "model.gpt.positions"],
        || {
            format!(
                "`model.gpt.width` must give each head an even width for `positions = \"rope\"`: {width} over {heads} \
                 heads is {} each",
                width / heads
            )
        },
    );
    rules.share_below_one("model.gpt.dropout", gpt.dropout);
    rules.whole("model.gpt.sample_bytes", gpt.sample_bytes, 0..=SAMPLE_BYTES_MAX);
    let prompt_bytes = gpt.prompt.len();
    rules.require((1..=PROMPT_BYTES_MAX).contains(&prompt_bytes), ["model.gpt.prompt"], || {
        format!(
            "`model.gpt.prompt` must have 1 to {PROMPT_BYTES_MAX} bytes for a sample to begin with, got {prompt_bytes}"
        )
    });
}

fn own(custom: &CustomSpec, rules: &mut Rules) {
    let task = custom.task.as_str();
    rules.require(!task.is_empty(), ["model.custom.task"], || {
        "`model.custom.task` must name a task of your worker binary, got an empty text".to_owned()
    });
    rules.require(!ModelSpec::BUILT_IN.contains(&task), ["model.custom.task"], || {
        format!("`model.custom.task` must not have the name of a built-in model: use `[model.{task}]` or rename it")
    });
}

fn against_data(model: &ModelSpec, data: &DataSpec, source: SourceSpec<'_>, rules: &mut Rules) {
    match model {
        // A model of one's own knows what it can read.
        ModelSpec::Custom(_) => {}
        ModelSpec::Gpt(_) => rules.require(source.is_text(), ["model.gpt", "data"], || {
            "`model.gpt` reads bytes of text: give it `[data.text]`".to_owned()
        }),
        ModelSpec::Linear(_) | ModelSpec::Mlp(_) | ModelSpec::Cnn(_) if source.is_text() => {
            let kind = model.kind();
            rules.require(false, [&format!("model.{kind}"), "data"], || {
                format!("`model.{kind}` cannot read a text: use `[model.gpt]` with `[data.text]`")
            });
        }
        ModelSpec::Cnn(_) if source.kind() == "csv" => rules.require(false, ["model.cnn", "data"], || {
            "`model.cnn` reads images: give it `[data.images]` or `[data.parquet]`, and `data.shape`"
                .to_owned()
        }),
        ModelSpec::Cnn(cnn) => images(cnn, data.shape, rules),
        ModelSpec::Linear(_) | ModelSpec::Mlp(_) => {}
    }
}

/// Each block of a convolutional network halves the image; something must be left of it.
fn images(cnn: &CnnSpec, shape: Option<[usize; 3]>, rules: &mut Rules) {
    let Some([_, height, width]) = shape else {
        rules.require(false, ["data", "data.shape", "model.cnn"], || {
            "`data.shape` is missing: `model.cnn` must know the images as [channels, height, width]"
                .to_owned()
        });
        return;
    };
    let blocks = cnn.channels.len();
    let side = height.min(width);
    let most = side.checked_ilog2().unwrap_or(0) as usize;
    rules.require(side == 0 || blocks <= most, ["model.cnn.channels", "data.shape"], || {
        format!(
            "`model.cnn.channels` has {blocks} blocks, each of which halves the image, but one of {height}×{width} \
             can be halved only {most} times"
        )
    });
}
