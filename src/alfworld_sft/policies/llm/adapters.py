"""How does a vLLM server play with an adapter that changes while it runs? It loads one at run time, under a name.

The server needs VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --enable-lora, and reads the adapter from the same path.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from pathlib import Path

from alfworld_sft.errors import PolicyUnavailableError
from alfworld_sft.policies.llm.refusals import read_complaint
from alfworld_sft.policies.llm.server import OpenAIServer

WAY_OUT = (
    "start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, --enable-lora and a --max-lora-rank that suffices, where it"
    " can read the run's folder"
)


class AdapterServer(OpenAIServer):
    """A policy that queries a server for the adapter that bears the policy's model name."""

    def load(self, folder: Path) -> None:
        """Make the server load the adapter in this folder; raises PolicyUnavailableError if it does not."""
        self._post_command("load_lora_adapter", {"lora_name": self.model, "lora_path": str(folder.absolute())})

    def unload(self) -> None:
        """Make the server forget the adapter; raises PolicyUnavailableError if it does not."""
        self._post_command("unload_lora_adapter", {"lora_name": self.model})

    def _post_command(self, command: str, body: dict[str, str]) -> None:
        endpoint, wording, openai = self._endpoint, self._endpoint.wording, self._endpoint.connection.library

        async def post() -> None:
            await endpoint.client().post(f"/{command}", cast_to=str, body=body)

        where = f"the server at {self.base_url}"
        try:
            asyncio.run(post())
        except openai.APIStatusError as error:
            said = wording.short(read_complaint(error.status_code, error.response.text).words)
            advice = (wording.hint() if error.status_code == HTTPStatus.NOT_FOUND else "") or f"; {WAY_OUT}"
            raise PolicyUnavailableError(f"{where} refused {command} ({error.status_code}: {said}){advice}") from None
        except openai.APIConnectionError as error:
            reason = wording.short(str(error.__cause__ or error))
            raise PolicyUnavailableError(f"cannot reach {where} ({reason}); start it, or set policy.base_url") from None
