"""Which error is a server's failure, and how does it read? With a way out, and without the key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from alfworld_sft.errors import PolicyUnavailableError
from alfworld_sft.policies.llm.open_files import is_out_of_files
from alfworld_sft.policies.llm.refusals import (
    Complaint,
    about,
    is_unknown_model,
    named,
    names_parameter,
    read_complaint,
    working_temperature,
)
from alfworld_sft.policies.llm.retry import RefusedError, RejectedError, SetbackError
from alfworld_sft.policies.llm.sampling import Sampling
from alfworld_sft.policies.llm.structured import RESTRICTIONS
from alfworld_sft.proxy_and_tls import Proxy


class ComplaintError(Exception):
    """A server's error message in place of an answer."""

    def __init__(self, complaint: Complaint, retry_after_s: float = 0.0) -> None:
        super().__init__(complaint.words)
        self.complaint = complaint
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Wording:
    """Words failures of the server at an address; `managed`: this program started it."""

    base_url: str
    model: str
    key: str
    proxy: Proxy | None
    sampling: Sampling
    managed: bool

    def verdict(self, error: ComplaintError) -> Exception:
        """Return the error for a server's complaint."""
        complaint, said = error.complaint, self.short(error.complaint.words)
        status, shown, where = complaint.status, complaint.shown, f"the server at {self.base_url}"
        refused = f"{where} refused the request ({shown}: {said})"
        what = about(complaint) if 400 <= status < 600 else None
        if status == 407 and self.proxy:
            return RefusedError(f"the proxy of {self.proxy.variable} refuses access (407); give it a name and password")
        if status in (401, 407) or (status == 403 and what != "filtered"):  # the text of a 401 may quote the key
            advice = "check OPENAI_API_KEY" if self.key else "set OPENAI_API_KEY"
            quoted = f": {said}" if status == 403 and not self._quotes_the_key(complaint.words) else ""
            return RefusedError(f"{where} refuses access ({status}{quoted}); {advice}")
        nowhere = status in (404, 405) and not names_parameter(complaint)
        if nowhere or (status == 400 and is_unknown_model(complaint, self.model)):
            hint = self.hint() if nowhere and not is_unknown_model(complaint, self.model) else ""
            return RefusedError(
                f"{where} does not know the model '{self.model}', or has no chat there ({shown}: {said}){hint}"
            )
        if status == 402 or (status == 429 and complaint.code == "insufficient_quota"):
            return RefusedError(f"{where} says that the account's quota is used up ({shown}: {said})")
        if what == "too long" and status != 429:
            return RejectedError(f"the prompt is too long: {refused}")
        if what == "filtered" and status != 429:
            return RejectedError(f"a content filter stopped the prompt: {refused}")
        if status in (408, 409, 425, 429) or status >= 500:
            return SetbackError(f"{where} answered {shown}: {said}", error.retry_after_s)
        if status in (400, 422) and (advice := self._advice(complaint)):
            return RefusedError(f"{refused}; {advice}")
        return RejectedError(refused)

    def lost(self, error: BaseException, *, answered: bool) -> Exception:
        """Return the error for a failed connection; `answered`: the server has answered before."""
        if is_out_of_files(error):
            return PolicyUnavailableError(
                f"no more files may be open, so no connection to the server at {self.base_url} can be made; set a lower"
                " runner.concurrency, or raise the limit (ulimit -n)"
            )
        reason = self.short(str(error.__cause__ or error))
        if self.proxy:
            reason = f"through the proxy of {self.proxy.variable}: {reason}"
        nobody_listens = type(error.__cause__).__name__ in ("ConnectError", "ProxyError")  # httpx's, or httpx2's
        if nobody_listens and not answered and not self.managed:  # a managed server is ending
            advice = "start it, or set OPENAI_BASE_URL"
            if self.proxy:
                host = urlsplit(self.base_url).hostname
                advice = f"correct or unset {self.proxy.variable}, add {host} to NO_PROXY, or {advice}"
            elif "CERTIFICATE_VERIFY_FAILED" in reason:
                advice = "set SSL_CERT_FILE to the certificates of the authority that signed its own"
            elif "[SSL" in reason:
                advice = f"did you mean {self.base_url.replace('https://', 'http://', 1)}?"
            return RefusedError(f"cannot reach the server at {self.base_url} ({reason}); {advice}")
        return SetbackError(
            f"the connection to the server at {self.base_url} was lost ({reason})", nobody_listens=nobody_listens
        )

    def not_json(self, content: str, *, answered: bool) -> Exception:
        """Return the error for an answer that is not JSON: at first, a web page means a wrong address."""
        said = self.short(read_complaint(200, content).words)
        if not answered and content.lstrip().startswith("<") and self.hint():
            return RefusedError(
                f"the server at {self.base_url} has no chat there: it sent a page ({said}){self.hint()}"
            )
        return SetbackError(f"the server gave a malformed answer: it is not JSON: {said}")

    def no_restriction(self, error: ComplaintError | None) -> RefusedError:
        """Return the error for a server that has no parameter to restrict replies."""
        said = f" ({error.complaint.shown}: {self.short(error.complaint.words)})" if error else ""
        return RefusedError(
            f"policy.constrain=action: the server at {self.base_url} refuses or ignores {', '.join(RESTRICTIONS)}"
            f"{said}; serve the model with vLLM or SGLang, play it with policy.name=local, or leave out"
            " policy.constrain"
        )

    def short(self, text: str) -> str:
        """Shorten a text to one line, without the key."""
        text = " ".join(text.replace(self.key, "***").split() if self.key else text.split())
        text = "".join(character for character in text if character.isprintable())
        return text if len(text) <= 200 else f"{text[:200]}…"

    def hint(self) -> str:
        """Return a hint with the probably intended address if this one does not end in a version."""
        plain = self.base_url.removesuffix("/completions").removesuffix("/chat")
        if not re.search(r"/v\d\w*(/openai)?$", plain):
            plain += "/v1"
        return f"; did you mean {plain}?" if plain != self.base_url else ""

    def _advice(self, complaint: Complaint) -> str:
        """Return how to fix a refused parameter, or "" if the user cannot set it."""
        sampling = self.sampling
        if named(complaint, ("temperature",)) and sampling.temperature is not None:
            other = " or policy.top_p=null" if named(complaint, ("top_p",)) and sampling.top_p is not None else ""
            value = "null" if other else working_temperature(complaint)
            return f"set policy.temperature={value}{other}"
        if named(complaint, ("top_p",)) and sampling.top_p is not None:
            return "set policy.top_p=null"
        if named(complaint, ("max_tokens", "max_completion_tokens")):
            return f"change policy.max_tokens={sampling.max_tokens}"
        return ""

    def _quotes_the_key(self, words: str) -> bool:
        """Return whether a text contains the key, or either end of it, as servers often show it."""
        return bool(self.key) and (self.key[:5] in words or self.key[-4:] in words)
