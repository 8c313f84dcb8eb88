//! Arrow IPC files and streams. What they tell of their own lengths is held against the
//! bytes that are there before anything is read, since the reader would allocate as
//! much as they say.

use std::{
    fs::File,
    io::{BufReader, Read as _, Seek as _, SeekFrom},
};

use arrow::{
    array::RecordBatch,
    buffer::Buffer,
    datatypes::SchemaRef,
    error::ArrowError,
    ipc::{
        Block,
        reader::{FileReader, StreamDecoder, read_footer_length},
        root_as_footer, root_as_message,
    },
};

/// Bytes that are read from a stream at once.
const READ_BYTES: usize = 1 << 20;

/// Bytes at the end of a file: the footer's length, and what tells the kind of file.
const TAIL_BYTES: u64 = 10;

/// What stands before a message that has its length in 4 bytes behind it.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// The batches of a file or a stream.
pub(crate) enum IpcBatches {
    File(Box<FileReader<BufReader<File>>>),
    Stream(Box<Stream>),
}

/// A stream whose schema is known.
pub(crate) struct Stream {
    file: File,
    decoder: StreamDecoder,
    schema: SchemaRef,
    /// What was read and not decoded yet.
    left: Buffer,
    /// A batch that came with the schema.
    first: Option<RecordBatch>,
}

impl IpcBatches {
    /// Opens a file, which can be read in any order.
    pub(super) fn file(mut file: File) -> Result<Self, ArrowError> {
        check_lengths(&mut file)?;
        FileReader::try_new(BufReader::new(file), None).map(|reader| Self::File(Box::new(reader)))
    }

    /// Opens a stream, and reads its schema.
    pub(super) fn stream(mut file: File) -> Result<Self, ArrowError> {
        let (mut decoder, mut left, mut first) = (StreamDecoder::new(), Buffer::default(), None);
        loop {
            if let Some(schema) = decoder.schema() {
                return Ok(Self::Stream(Box::new(Stream { file, decoder, schema, left, first })));
            }
            if left.is_empty() {
                left = read_some(&mut file)?;
            }
            if left.is_empty() {
                return Err(ArrowError::IpcError("it ends before its schema does".to_owned()));
            }
            first = decoder.decode(&mut left)?;
        }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        match self {
            Self::File(reader) => reader.schema(),
            Self::Stream(stream) => stream.schema.clone(),
        }
    }
}

impl Iterator for IpcBatches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::File(reader) => reader.next(),
            Self::Stream(stream) => stream.next().transpose(),
        }
    }
}

impl Stream {
    fn next(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        loop {
            if let Some(batch) = self.decoder.decode(&mut self.left)? {
                return Ok(Some(batch));
            }
            self.left = read_some(&mut self.file)?;
            if self.left.is_empty() {
                return self.decoder.finish().map(|()| None);
            }
        }
    }
}

/// The next bytes of a stream; none at its end.
fn read_some(file: &mut File) -> Result<Buffer, ArrowError> {
    let mut bytes = Vec::new();
    file.take(READ_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(Buffer::from_vec(bytes))
}

/// Fails if the footer or a message of a file tells of more bytes than there are.
fn check_lengths(file: &mut File) -> Result<(), ArrowError> {
    let bytes = file.metadata()?.len();
    let start = bytes.checked_sub(TAIL_BYTES).ok_or_else(too_short)?;
    let mut tail = [0; TAIL_BYTES as usize];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut tail)?;
    let length = read_footer_length(tail)?;
    let footer = read_at(file, start.checked_sub(length as u64).ok_or_else(too_short)?, length)?;
    let footer = root_as_footer(&footer).map_err(|error| ArrowError::ParseError(error.to_string()))?;
    let blocks =
        footer.recordBatches().into_iter().flatten().chain(footer.dictionaries().into_iter().flatten());
    for block in blocks {
        check_block(file, block, bytes)?;
    }
    file.rewind()?;
    Ok(())
}

/// The same of one message, in a file of so many bytes.
fn check_block(file: &mut File, block: &Block, bytes: u64) -> Result<(), ArrowError> {
    let whole = |number: i64| u64::try_from(number).map_err(|_| too_short());
    let (start, body) = (whole(block.offset())?, whole(block.bodyLength())?);
    let head = whole(block.metaDataLength().into())?;
    let end = start.checked_add(head).and_then(|end| end.checked_add(body));
    if end.is_none_or(|end| end > bytes) {
        return Err(too_short());
    }
    let head = read_at(file, start, head as usize)?;
    let message = match head.strip_prefix(&CONTINUATION) {
        Some(rest) => rest.get(4..),
        None => head.get(4..),
    };
    let message = root_as_message(message.ok_or_else(too_short)?);
    let message = message.map_err(|error| ArrowError::ParseError(error.to_string()))?;
    let dictionary = message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data());
    let Some(batch) = message.header_as_record_batch().or(dictionary) else { return Ok(()) };
    for buffer in batch.buffers().into_iter().flatten() {
        let end = whole(buffer.offset())?.checked_add(whole(buffer.length())?);
        if end.is_none_or(|end| end > body) {
            return Err(too_short());
        }
    }
    Ok(())
}

fn read_at(file: &mut File, start: u64, length: usize) -> Result<Vec<u8>, ArrowError> {
    let mut bytes = vec![0; length];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn too_short() -> ArrowError {
    ArrowError::IpcError("it tells of more bytes than it has".to_owned())
}
