"""Metrics of language."""

import math

import jiwer
import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF
from sklearn import metrics as sk

ROUGE = RougeScorer(["rouge1", "rouge2", "rougeL"])


def next_bytes(case):
    truths = np.array(case["truths"])
    nats = sk.log_loss(truths, np.array(case["probabilities"]).reshape(-1, 256), labels=list(range(256)))
    return {"bits_per_byte": nats / math.log(2), "perplexity": math.exp(nats)}


def texts(case):
    texts, references = case["texts"], case["references"]
    first = [one[0] for one in references]
    # sacrebleu wants as many references of each text: those that lack some repeat their last.
    most = max(len(one) for one in references)
    columns = [[one[min(at, len(one) - 1)] for one in references] for at in range(most)]
    values = {
        "bleu": BLEU(tokenize="none", force=True).corpus_score(texts, columns).score / 100,
        "chrf": CHRF().corpus_score(texts, columns).score / 100,
    }
    pairs = [ROUGE.score(reference, text) for text, reference in zip(texts, first)]
    for kind in ("rouge1", "rouge2", "rougeL"):
        values |= {
            f"{kind}_precision": np.mean([pair[kind].precision for pair in pairs]),
            f"{kind}_recall": np.mean([pair[kind].recall for pair in pairs]),
            f"{kind}_f1": np.mean([pair[kind].fmeasure for pair in pairs]),
        }
    spoken = [(text, reference) for text, reference in zip(texts, first) if reference.strip()]
    for name, of in (("wer", jiwer.wer), ("cer", jiwer.cer)):
        values[name] = of([one[1] for one in spoken], [one[0] for one in spoken]) if spoken else None
    return values
