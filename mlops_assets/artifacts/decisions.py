"""Decision records: sealing them, and verifying every part before a registry may write.

The record is bound to candidate, evaluation, evaluation data, policy, metrics and champion, and sealed with
an HMAC (RFC 2104, SHA-256) under the gate key, so that editing a metric and recomputing every digest
does not help either.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Callable, Mapping
from typing import BinaryIO

from mlops_assets.artifacts.digest import digest_of
from mlops_assets.artifacts.values import Candidate, Decision, Evaluation, Value
from mlops_assets.errors import ArtifactError, GateRefusedError

_RERUN = "Materialise the evaluation with its gates again, then register."
_TRAIN = "Train again: what was judged is no longer there."


def seal(decision: Decision, key: bytes) -> Decision:
    """`decision` with its digest and signature computed.

    Raises:
        ValueError: where a number in it is NaN or infinite; such a metric is recorded as None.
    """
    digest = decision.content_digest("digest", "signature")
    return decision.model_copy(update={"digest": digest, "signature": sign(digest, key)})


def sealed(decision: Decision, key: bytes) -> bool:
    """Whether `decision` is, to the byte, what `seal` made under this key."""
    digest = _digest(decision, "digest", "signature")
    return decision.digest == digest and hmac.compare_digest(decision.signature, sign(digest, key))


def sign(text: str, key: bytes) -> str:
    """HMAC-SHA256 of `text`, 64 hexadecimal digits."""
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def verify(
    decision: Decision | None,
    *,
    candidate: Candidate,
    evaluation: Evaluation,
    policy_digest: str,
    champion: int | None,
    registered: int | None,
    files: Mapping[str, str] | None,
    open_file: Callable[[str], BinaryIO],
    key: bytes,
) -> None:
    """Return where `decision` lets exactly this candidate pass today; raise where any part does not hold.

    Args:
        champion: version of today's champion; it must be the one the decision compared with, unless the
            candidate itself is already `registered`.
        files: what the store holds of the candidate, file name -> SHA-256 as published.
        open_file: opens one of those files; its bytes are hashed again.

    Raises:
        GateRefusedError: naming the part that does not hold.
    """

    def refuse(what: str, mend: str = _RERUN) -> GateRefusedError:
        where = f"{candidate.model}, candidate {candidate.digest[:12]}"
        return GateRefusedError(f"Not registered: {what}", where=where, mend=mend)

    if decision is None:
        raise refuse("no decision exists for this candidate; its gates have not been run.")
    if not sealed(decision, key):
        raise refuse("the decision record was edited after it was sealed.")
    if (decision.model, decision.candidate_digest) != (candidate.model, candidate.digest):
        raise refuse(f"the decision is about another candidate ({decision.candidate_digest[:12]}).")
    _verify_evaluation(decision, candidate, evaluation, refuse)
    _verify_verdict(decision, policy_digest, refuse)
    if registered is None and decision.champion != champion:
        raise refuse(
            f"it was compared with champion {decision.champion or 'none'}, but the champion is now "
            f"{champion or 'none'}."
        )
    changed = changed_file(candidate.files, files, open_file)
    if changed or candidate.digest != digest_of(candidate.files):
        raise refuse(changed or "the candidate's files are not the ones that its digest names.", _TRAIN)


def _verify_evaluation(
    decision: Decision,
    candidate: Candidate,
    evaluation: Evaluation,
    refuse: Callable[..., GateRefusedError],
) -> None:
    if evaluation.digest != _digest(evaluation, "digest", "uri"):
        raise refuse("the evaluation was edited after it was made.")
    if (evaluation.model, evaluation.candidate_digest) != (candidate.model, candidate.digest):
        raise refuse("the evaluation is of another candidate.")
    if decision.evaluation_digest != evaluation.digest:
        raise refuse("the decision was reached from another evaluation.")
    if (
        decision.data_digest != evaluation.data_digest
        or evaluation.dataset_version != candidate.dataset_version
    ):
        raise refuse("the evaluation data is not the data the decision was reached on.")
    for name, value in decision.metrics.items():
        measured = evaluation.metrics.get(name)
        if measured is None or measured.value != value:
            raise refuse(f"the decision's {name} is not the evaluation's.")


def _verify_verdict(decision: Decision, policy_digest: str, refuse: Callable[..., GateRefusedError]) -> None:
    """The gates are today's, every one of them has its result, and none of severity error failed."""
    if decision.policy_digest != policy_digest or digest_of(decision.policy) != policy_digest:
        raise refuse("the gates were changed after the decision.")
    if not decision.policy or len(decision.gates) != len(decision.policy):
        raise refuse(f"the decision has {len(decision.gates)} results for {len(decision.policy)} gates.")
    failed = [gate.message for gate in decision.gates if not gate.passed and gate.severity == "error"]
    if failed or not decision.passed:
        raise refuse(
            f"a gate refused it: {'; '.join(failed) or 'the decision says no.'}", "Train a better candidate."
        )
    for gate in decision.policy:
        value = decision.metrics.get(str(gate.get("metric")))
        if gate.get("severity") == "error" and (value is None or not math.isfinite(value)):
            raise refuse(f"its {gate.get('metric')} is not a number.", "Train a better candidate.")


def changed_file(
    files: Mapping[str, str], published: Mapping[str, str] | None, open_file: Callable[[str], BinaryIO]
) -> str | None:
    """What no longer holds of an artifact's files, or None where every byte is as recorded.

    Args:
        files: file name -> SHA-256, as recorded when the artifact was made.
        published: the same, as the store tells it now; None where it is not (wholly) there.
        open_file: opens a file by name; all of it is read.
    """
    if published is None:
        return "the model's files are no longer in the store."
    if dict(published) != dict(files):
        return "the model's files are not the ones that were judged."
    for name, digest in files.items():
        try:
            with open_file(name) as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        except (ArtifactError, OSError):
            return f"{name} cannot be read."
        if actual != digest:
            return f"{name} was changed after it was judged."
    return None


def _digest(value: Value, *exclude: str) -> str:
    """Digest of `value`; empty, which no digest is, where it holds a number that no record may hold."""
    try:
        return value.content_digest(*exclude)
    except ValueError:
        return ""
