"""OLMoE (arXiv 2409.02060): text to vectors, text to text, and the choice of a memory operation.

Owns the loaded weights. One class serves the small model that is shipped and OLMoE-1B-7B. Nothing here is
heavy to import: torch, transformers and peft come in with `load()`. Refuses to know markets and memories.

Shapes: B texts, T tokens, N tokens of all texts laid end to end, D hidden, C continuations.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import itertools
import json
import logging
import math
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config import OLMoEIntegrationConfig
from core.errors import CheckpointError, ModelError, ModelNotLoaded
from models import attention, experts
from models.device import count_fused_steps
from models.folder import (
    ARCHITECTURE,
    CONFIG,
    HEAD,
    TOKENIZER,
    WEIGHTS,
    ModelFolder,
    available_bytes,
    download,
    open_folder,
    remove,
    resolve,
    sha256,
    write_folder,
    write_manifest,
)
from models.quiet import quiet_transformers
from models.tokens import TextTokens

if TYPE_CHECKING:
    import torch

    from models.action_head import MemoryActionHead

LOG = logging.getLogger(__name__)

ACTIONS = ("add", "update", "delete", "retrieve", "summary", "filter", "none")
"""The order of the action head's logits: the six memory operations, and doing nothing."""

TOKENS_PER_PASS = 8192
"""More tokens than this are encoded in several passes: it bounds memory, and costs no speed."""

SPARED_FRAC = 0.2
"""Passes keep texts that begin alike together where at least this share of all tokens is spared so."""

CACHED_TEXTS = 65_536
"""The cache of a frozen backbone begins anew when it holds this many texts."""

HEAD_SHAPE = "hidden_size feature_size width gate"
"""The one key of a saved head's metadata: with several, the file's bytes would not be the same twice."""

WEIGHTS_METADATA = {"format": "pt"}

BYTES_PER_WEIGHT = {"float32": 4, "bfloat16": 2, "float16": 2}

_NEVER = -1
"""A version that no weights have: they were changed in a way that torch does not count."""

_HEADROOM_FRAC = 0.1
"""Loading needs the weights and about this share of them for what is computed."""


def __getattr__(name: str) -> Any:
    """`MemoryActionHead`, whose module imports torch, only when it is asked for."""
    if name == "MemoryActionHead":
        from models.action_head import MemoryActionHead

        return MemoryActionHead
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class OLMoEModel:
    """An OLMoE with its tokenizer and its memory action head.

    `config` is the section `olmoe` of the configuration: which weights, where they compute, in what dtype.
    Before `load()` everything that needs weights raises ModelNotLoaded, and `action_head` is None.
    """

    def __init__(self, config: OLMoEIntegrationConfig | None = None) -> None:
        self.config = config or OLMoEIntegrationConfig()
        self.action_head: MemoryActionHead | None = None
        self._backbone: Any = None
        self._adapter: Any = None
        self._folder: ModelFolder | None = None
        self._tokens: TextTokens | None = None
        self._loaded_version = 0
        self._before_adapter: tuple[bool, str] | None = None
        self._adapter_on = False
        self._hashed: tuple[int, str] | None = None
        self._cache = _Cache()
        self._turn = threading.RLock()

    # --- loading and saving

    def load(self, path: str | Path | None = None) -> OLMoEModel:
        """Read weights from a folder or a hub id (default: `olmoe.model_path`, else the shipped model).

        Safetensors only; no code of the folder runs. Raises: ModelError, which says what is wrong with the
        folder, how much memory is missing, or how to go on without the hub.
        """
        chosen = resolve(path or self.config.model_path)
        name = chosen if isinstance(chosen, str) else None
        local = download(chosen) if isinstance(chosen, str) else chosen
        folder = open_folder(local, training_cutoff=self.config.training_cutoff, name=name)
        if folder.training_cutoff is None:
            raise ModelError(
                f"nobody says up to when {folder.name} was trained.",
                "Set olmoe.training_cutoff to a date, so that runs can tell what it may have seen.",
            )
        self._check_memory(folder)
        tokens = TextTokens(folder.path / TOKENIZER)
        if tokens.size > folder.config["vocab_size"]:
            raise ModelError(
                f"{folder.path} has a tokenizer of {tokens.size} tokens for a model of "
                f"{folder.config['vocab_size']}.",
                "The files are of two models: install or download it again.",
            )
        backbone = _read_backbone(folder, self.config.device, self.config.dtype)
        self._set(backbone, folder, tokens)
        return self

    def build(self, backbone: Any, folder: ModelFolder, tokens: TextTokens) -> OLMoEModel:
        """Take a backbone that is in memory already: for models that were just trained, and for tests."""
        attention.register()
        count_fused_steps()
        backbone.set_attn_implementation(attention.IMPLEMENTATION)
        backbone.set_experts_implementation(experts.implementation())
        self._set(backbone, folder, tokens)
        return self

    def save(
        self, path: str | Path, *, head: bool = True, more: Mapping[str, Any] | None = None
    ) -> Path:
        """Write backbone, tokenizer and head as a folder that `load` reads; returns its manifest.

        `more` is written into the manifest too.

        Every file is written out before the first is replaced, so a full disk leaves the folder as it was;
        the manifest comes last, so a save that was cut off in between is told by `load`.
        Raises: ModelError with an adapter attached (merge it or save it), StorageError.
        """
        from safetensors.torch import save

        if self._adapter is not None:
            raise ModelError(
                "an adapter is attached.",
                "Save it with save_lora(), or merge() it into the weights first.",
            )
        backbone, folder, own_head = self._loaded(), self._known_folder(), self._known_head()
        weights = _saved_weights(backbone)
        config = json.loads(backbone.config.to_json_string(use_diff=False))
        files: dict[str, bytes | Callable[[Path], None]] = {
            WEIGHTS: lambda place: _write_weights(weights, place),
            CONFIG: _config_bytes({**config, "architectures": [ARCHITECTURE]}),
            TOKENIZER: (folder.path / TOKENIZER).read_bytes(),
        }
        if head:
            matrices = {name: each.cpu() for name, each in own_head.state_dict().items()}
            files[HEAD] = save(matrices, metadata={HEAD_SHAPE: " ".join(map(str, own_head.shape))})
        target = Path(path)
        write_folder(target, files)
        if not head:
            remove(target / HEAD)
        return write_manifest(
            target, name=folder.name, training_cutoff=folder.training_cutoff, more=more
        )

    # --- text to vectors

    def encode(self, text: str) -> torch.Tensor:
        """The mean of the last hidden states over the text's tokens, [D], on the model's device, with
        gradients.

        A text longer than the context is read up to it; one without any token as one end-of-text.
        Raises: ModelNotLoaded.
        """
        import torch

        self._loaded()
        ids = self._known_tokens().encode(text)[: self.context_tokens] or [self._end_of_text()]
        return self._states(torch.tensor([ids], device=self.device))[0].mean(dim=0)

    def encode_batch(self, texts: Sequence[str]) -> torch.Tensor:
        """The embeddings of many texts, [B, D]: the rows that `encode` gives, to 1e-5 in float32.

        Texts of one length go as a batch, mixed lengths are laid end to end without padding
        (`models/attention.py`); more than 8,192 tokens go in several passes, longest texts first.
        """
        self._loaded()
        return self._encode_tokens(self._tokenize(texts))

    def encode_cached(self, texts: Sequence[str]) -> torch.Tensor:
        """As `encode_batch` without gradients; what was encoded before by these very weights is looked up.

        The key is the text and the weights' version, so any change of a weight empties the cache. Threads
        take turns.
        """
        import torch

        self._loaded()
        with self._turn:
            version = self._version()
            rows = self._cache.rows(version, texts)
            if rows is None:
                missing = self._cache.missing(version, texts)
                with torch.no_grad():
                    fresh = self.encode_batch(missing) if missing else None
                rows = self._cache.add(version, missing, fresh, texts)
            return rows

    async def embed(self, text: str) -> list[float]:
        """`encode_cached` of one text as plain floats, computed beside the event loop."""
        rows = await asyncio.to_thread(self.encode_cached, [text])
        vector: list[float] = rows[0].float().tolist()
        return vector

    # --- text to text

    async def generate(
        self,
        prompt: str,
        *,
        max_tokens: int = 64,
        temperature: float = 0.0,
        seed: int = 0,
        stop: str | None = None,
    ) -> str:
        """The continuation of a prompt: at most `max_tokens` tokens, to the end of the text or `stop`.

        Temperature 0 takes the likeliest token each time; above 0 tokens are drawn, and the seed decides.
        A prompt longer than the context less `max_tokens` loses its beginning.
        Raises: ModelNotLoaded; ValueError for fewer than one token or as many as the context.
        """
        self._loaded()
        if not 1 <= max_tokens < self.context_tokens:
            raise ValueError(f"max_tokens is {max_tokens}; 1 to {self.context_tokens - 1} fit.")
        if not 0.0 <= temperature < math.inf:
            raise ValueError(f"temperature is {temperature}; use 0 or more.")
        return await asyncio.to_thread(self._generate, prompt, max_tokens, temperature, seed, stop)

    def score(self, prompt: str, continuations: Sequence[str]) -> torch.Tensor:
        """Log-probability (natural) of each continuation after the prompt, [C], without gradients.

        The prompt is read once; its keys and values serve all continuations, which go as one batch. Prompt
        and continuation are tokenised apart: give continuations with their leading space.
        Raises: ModelNotLoaded; ValueError for a continuation that is empty or leaves no room for a prompt.
        """
        import torch

        options = self._options(continuations)
        longest = max(map(len, options))
        prompt_ids = self._prompt_ids(prompt, longest)
        backbone = self._loaded()
        with torch.no_grad():
            inputs_1T = torch.tensor([prompt_ids], device=self.device)
            with self._turn:
                read = backbone(input_ids=inputs_1T, use_cache=longest > 1, logits_to_keep=1)
            first_V = read.logits[0, -1].float().log_softmax(-1)
            if longest == 1:
                chosen = torch.tensor([ids[0] for ids in options], device=self.device)
                picked: torch.Tensor = first_V[chosen]
                return picked
            return self._score_rest(_cache_of(read), len(prompt_ids), first_V, options)

    def score_batch(self, prompts: Sequence[str], continuations: Sequence[str]) -> torch.Tensor:
        """`score` of the same continuations after each of P prompts, [P, C].

        Where every continuation is one token (the forecaster's buckets are), all prompts are read in one
        pass without padding.
        """
        import torch

        options = self._options(continuations)
        if not prompts:
            return torch.empty((0, len(options)), device=self.device)
        if any(len(ids) > 1 for ids in options):
            return torch.stack([self.score(prompt, continuations) for prompt in prompts])
        chosen = torch.tensor([ids[0] for ids in options], device=self.device)
        backbone = self._loaded()
        with torch.no_grad():
            last_PD = self._last_states(self._prompts_ids(prompts, 1))
            logits_PV = backbone.get_output_embeddings()(last_PD)
            scores_PC: torch.Tensor = logits_PV.float().log_softmax(-1)[:, chosen]
            return scores_PC

    # --- weights

    @property
    def loaded(self) -> bool:
        return self._backbone is not None

    @property
    def tokenizer(self) -> TextTokens:
        """The model's own tokenizer, a `core.protocols.Tokenizer`. Raises: ModelNotLoaded."""
        return self._known_tokens()

    @property
    def backbone(self) -> Any:
        """The transformers model, with the adapter where one is attached. Raises: ModelNotLoaded."""
        return self._loaded()

    @property
    def name(self) -> str:
        return self._known_folder().name

    @property
    def training_cutoff(self) -> date:
        """The last date that the model's training may have seen."""
        cutoff = self._known_folder().training_cutoff
        assert cutoff is not None, "load() lets no model without one in"
        return cutoff

    @property
    def hidden_size(self) -> int:
        size: int = self._loaded().config.hidden_size
        return size

    @property
    def context_tokens(self) -> int:
        tokens: int = self._loaded().config.max_position_embeddings
        return tokens

    @property
    def device(self) -> torch.device:
        found: torch.device = next(self._loaded().parameters()).device
        return found

    @property
    def dtype(self) -> torch.dtype:
        found: torch.dtype = next(self._loaded().parameters()).dtype
        return found

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """The backbone's trainable parameters (the adapter's alone, where one is attached) and the head's."""
        for _, parameter in self.named_parameters():
            yield parameter

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """As `parameters`, named `backbone.*` and `head.*`."""
        for name, parameter in self._loaded().named_parameters():
            if parameter.requires_grad:
                yield f"backbone.{name}", parameter
        for name, parameter in self._known_head().named_parameters():
            yield f"head.{name}", parameter

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What `parameters` covers, by name, detached."""
        return {name: parameter.detach() for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put back what `state_dict` gave.

        Raises: CheckpointError when names or shapes differ, or a value is not finite; nothing is changed
        then.
        """
        import torch

        own = dict(self.named_parameters())
        missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if missing or extra:
            raise CheckpointError(
                f"the state does not fit: {len(missing)} names are missing, {len(extra)} unknown "
                f"(first: {(missing or extra)[0]}).",
                "Load it into a model of the same shape, with the same adapter and head.",
            )
        for name, parameter in own.items():
            if state[name].shape != parameter.shape:
                raise CheckpointError(
                    f"{name} has shape {tuple(state[name].shape)}, {tuple(parameter.shape)} expected.",
                    "Load it into a model of the same shape.",
                )
            if not bool(torch.isfinite(state[name]).all()):
                raise CheckpointError(f"{name} is not finite.", "Use an earlier checkpoint.")
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(state[name])

    def freeze(self, frozen: bool = True) -> None:
        """Train the head alone (or, with False, the whole backbone again; never the base of an adapter)."""
        for name, parameter in self._loaded().named_parameters():
            parameter.requires_grad_(not frozen and (self._adapter is None or "lora_" in name))

    def set_action_head(self, head: MemoryActionHead) -> None:
        """Use another head, as a policy checkpoint with features of its own brings one."""
        if head.hidden_size != self.hidden_size:
            raise CheckpointError(
                f"the head takes embeddings of {head.hidden_size}, this model gives {self.hidden_size}.",
                "Use the head with the backbone that it was trained on.",
            )
        self.action_head = head.to(device=self.device).float()

    @property
    def backbone_hash(self) -> str:
        """What the base weights are: SHA-256 of the files they came from, or, once changed, of the file that
        `save` would write, so that a model has one name before it is saved and after.

        An adapter does not count. Policies and adapters name it, and refuse another.
        """
        if self._before_adapter is not None:
            return self._before_adapter[1]
        version = self._base_version()
        if self._hashed is None or self._hashed[0] != version:
            self._hashed = version, self._compute_hash()
        return self._hashed[1]

    @property
    def tokenizer_hash(self) -> str:
        """SHA-256 of the tokenizer's file."""
        return sha256(self._known_folder().path / TOKENIZER)

    @property
    def changed(self) -> bool:
        """Whether a base weight was changed since they were loaded (none can be while an adapter is on)."""
        if self._before_adapter is not None:
            return self._before_adapter[0]
        return self._base_version() != self._loaded_version

    def require_backbone(self, expected_hash: str, what: str) -> None:
        """Raises: CheckpointError when `what` was trained on another backbone."""
        found = self.backbone_hash
        if found != expected_hash:
            raise CheckpointError(
                f"{what} was trained on the backbone {expected_hash[:12]}; this one is {found[:12]} "
                f"({self.name}).",
                "Load the model that it was trained on.",
            )

    # --- adapters (models/adapters.py)

    @property
    def peft_model(self) -> Any:
        """peft's own object around the backbone, for trainers that know adapters. Raises: ModelError."""
        if self._adapter is None:
            raise ModelError("there is no adapter.", "Attach one with add_lora().")
        return self._adapter

    @property
    def has_adapter(self) -> bool:
        return self._adapter is not None

    def add_lora(
        self, *, rank: int = 8, alpha: float = 16.0, experts: bool = False, seed: int = 0
    ) -> None:
        """Attach low-rank matrices to the attention (and, with `experts`, to the expert weights), and
        freeze the base. At first they change nothing. Raises: ModelError when there is an adapter."""
        from models import adapters

        self._require_no_adapter()
        before = self.changed, self.backbone_hash
        self._take_adapter(
            adapters.attach(self._loaded(), rank=rank, alpha=alpha, experts=experts, seed=seed),
            before,
        )

    def save_lora(self, path: str | Path) -> Path:
        """Write the adapter and the hash of its backbone; returns the manifest. Raises: ModelError."""
        from models import adapters

        if self._adapter is None:
            raise ModelError("there is no adapter to save.", "Attach one with add_lora().")
        return adapters.save(self._adapter, Path(path), backbone_hash=self.backbone_hash)

    def load_lora(self, path: str | Path) -> None:
        """Attach a saved adapter. Raises: CheckpointError for another backbone or a damaged file."""
        from models import adapters

        self._require_no_adapter()
        about = adapters.read_manifest(Path(path))
        self.require_backbone(about.backbone_hash, f"the adapter {path}")
        before = self.changed, about.backbone_hash
        self._take_adapter(adapters.load(self._loaded(), Path(path), about), before)

    def merge(self) -> None:
        """Add the adapter to the base weights for good. Raises: ModelError without one."""
        if self._adapter is None:
            raise ModelError("there is no adapter to merge.", "Attach one with add_lora().")
        self._backbone = self._adapter.merge_and_unload()
        self._adapter, self._before_adapter, self._adapter_on = None, None, False
        self._loaded_version, self._hashed = _NEVER, None
        self._cache = _Cache()
        self.freeze(False)

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """The base alone inside the block: what the embedder and the forecaster use.

        The switch is the model's, not the caller's, so other threads wait until the block ends: await
        nothing inside it.
        """
        with self._turn:
            if self._adapter is None:
                yield
                return
            was_on, self._adapter_on = self._adapter_on, False
            try:
                if was_on:
                    with self._adapter.disable_adapter():
                        yield
                else:
                    yield
            finally:
                self._adapter_on = was_on

    # --- inside

    def _loaded(self) -> Any:
        if self._backbone is None:
            raise ModelNotLoaded("Model not loaded", "Call load() first.")
        return self._backbone

    def _known_folder(self) -> ModelFolder:
        self._loaded()
        assert self._folder is not None
        return self._folder

    def _known_tokens(self) -> TextTokens:
        self._loaded()
        assert self._tokens is not None
        return self._tokens

    def _known_head(self) -> MemoryActionHead:
        self._loaded()
        assert self.action_head is not None
        return self.action_head

    def _require_no_adapter(self) -> None:
        self._loaded()
        if self._adapter is not None:
            raise ModelError("there is an adapter already.", "Merge it, or load the model again.")

    def _set(self, backbone: Any, folder: ModelFolder, tokens: TextTokens) -> None:
        self._backbone, self._folder, self._tokens = backbone.eval(), folder, tokens
        self._adapter, self._before_adapter, self._adapter_on = None, None, False
        self._cache = _Cache()
        self._loaded_version, self._hashed = self._base_version(), None
        self.action_head = _read_head(folder, backbone.config.hidden_size).to(self.device)

    def _check_memory(self, folder: ModelFolder) -> None:
        from models.device import free_bytes

        total, _ = folder.weight_counts()
        needed = total * BYTES_PER_WEIGHT[self.config.dtype] * (1.0 + _HEADROOM_FRAC)
        free = free_bytes(self.config.device, available_bytes())
        if free is not None and needed > free:
            cure = "Use olmoe.dtype bfloat16, a machine with more memory, or the small model."
            raise ModelError(
                f"{folder.name} needs {needed / 2**30:.1f} GiB in {self.config.dtype}; "
                f"{free / 2**30:.1f} GiB are free.",
                cure,
            )

    def _compute_hash(self) -> str:
        if not self.changed:
            return self._known_folder().backbone_hash()
        from safetensors.torch import save

        return hashlib.sha256(
            save(_saved_weights(self._loaded()), metadata=WEIGHTS_METADATA)
        ).hexdigest()

    def _base_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        for name, parameter in self._loaded().named_parameters():
            if "lora_" not in name:
                yield name.replace(".base_layer", "").replace("base_model.model.", ""), parameter

    def _base_version(self) -> int:
        """Grows with every change in place of a base weight: torch counts them per tensor."""
        return sum(parameter._version for _, parameter in self._base_parameters())

    def _version(self) -> tuple[bool, int]:
        """Of everything that an embedding depends on: the adapter where one is on, else the base."""
        if self._adapter is None:
            return False, self._base_version()
        if not self._adapter_on:
            return False, 0
        return True, sum(
            parameter._version
            for name, parameter in self._adapter.named_parameters()
            if "lora_" in name
        )

    def _take_adapter(self, adapted: Any, before: tuple[bool, str]) -> None:
        self._adapter, self._before_adapter, self._adapter_on = adapted, before, True
        self._cache = _Cache()

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        end = self._end_of_text()
        limit = self.context_tokens
        return [ids[:limit] or [end] for ids in self._known_tokens().encode_batch(texts)]

    def _end_of_text(self) -> int:
        end = self._loaded().config.eos_token_id
        return int(end[0] if isinstance(end, list) else end if end is not None else 0)

    def _options(self, continuations: Sequence[str]) -> list[list[int]]:
        """The continuations' tokens. Raises: ValueError for one that cannot be scored."""
        options = self._known_tokens().encode_batch(continuations)
        _check_continuations(continuations, options, self.context_tokens)
        return options

    def _prompt_ids(self, prompt: str, room: int) -> list[int]:
        """The prompt after a beginning-of-text where the model has one, cut at its front to leave room."""
        return self._prompts_ids([prompt], room)[0]

    def _prompts_ids(self, prompts: Sequence[str], room: int) -> list[list[int]]:
        """The same for several."""
        begin = self._loaded().config.bos_token_id
        front = [] if begin is None else [begin]
        keep = self.context_tokens - room - len(front)
        return [
            front + ids[max(0, len(ids) - keep) :] or [self._end_of_text()]
            for ids in self._known_tokens().encode_batch(prompts)
        ]

    def _encode_tokens(self, ids: Sequence[list[int]]) -> torch.Tensor:
        import torch

        if not ids:
            return torch.empty((0, self.hidden_size), device=self.device, dtype=self.dtype)
        order: list[int] = []
        parts = []
        for together in _passes(_order(ids), ids):
            part = sorted(together, key=lambda index: -len(ids[index]))
            parts.append(self._mean_states([ids[index] for index in part]))
            order += part
        rows_BD = torch.cat(parts) if len(parts) > 1 else parts[0]
        if order == list(range(len(ids))):
            return rows_BD
        place = torch.empty(len(order), dtype=torch.int64)
        place[torch.tensor(order)] = torch.arange(len(order))
        return rows_BD[place.to(rows_BD.device)]

    def _mean_states(self, ids: Sequence[list[int]]) -> torch.Tensor:
        """Means over each text's tokens, [B, D], for texts sorted by falling length."""
        import torch

        if len(ids[0]) == len(ids[-1]):
            states_BTD = self._states(torch.tensor(ids, device=self.device))
            return states_BTD.mean(dim=1)
        states_ND, segments = self._packed_states(ids)
        sums_BD = states_ND.new_zeros((len(ids), states_ND.shape[1]))
        sums_BD = sums_BD.index_add(0, segments.owner, states_ND[segments.members])
        return sums_BD / segments.lengths[:, None]

    def _last_states(self, ids: Sequence[list[int]]) -> torch.Tensor:
        """The state of each text's last token, [B, D]."""
        import torch

        order = sorted(range(len(ids)), key=lambda index: -len(ids[index]))
        parts = []
        for part in _passes(order, ids):
            chosen = [ids[index] for index in part]
            if len(chosen[0]) == len(chosen[-1]):
                parts.append(self._states(torch.tensor(chosen, device=self.device))[:, -1])
            else:
                states_ND, segments = self._packed_states(chosen)
                parts.append(states_ND[segments.ends])
        place = torch.empty(len(order), dtype=torch.int64)
        place[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(parts)[place.to(self.device)]

    def _states(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        """Last hidden states of texts of one length, [B, T, D]."""
        import torch

        # A mask that is there already spares transformers the making of one: 5 % of a short text's time.
        whole = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=self.device)
        with self._turn:
            states: torch.Tensor = self._decoder()(
                input_ids=tokens_BT,
                position_ids=torch.arange(tokens_BT.shape[1], device=self.device)[None],
                attention_mask=whole,
                use_cache=False,
                alike=True,
            ).last_hidden_state
        return states

    def _packed_states(self, ids: Sequence[list[int]]) -> tuple[torch.Tensor, attention.Segments]:
        """Last hidden states of texts laid end to end, [N, D]."""
        import torch

        segments = attention.Segments.of(ids, self.device)
        whole = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=self.device)
        with self._turn:
            output = self._decoder()(
                input_ids=segments.tokens,
                position_ids=segments.positions,
                attention_mask=whole,
                use_cache=False,
                segments=segments,
            )
        return output.last_hidden_state[0], segments

    def _decoder(self) -> Any:
        """The layers without the language head."""
        return self._loaded().model

    def _generate(
        self, prompt: str, max_tokens: int, temperature: float, seed: int, stop: str | None
    ) -> str:
        import torch

        backbone, tokens = self._loaded(), self._known_tokens()
        end = self._end_of_text()
        generator = torch.Generator(device=self.device).manual_seed(seed)
        written: list[int] = []
        past: dict[str, Any] = {}
        inputs = torch.tensor([self._prompt_ids(prompt, max_tokens)], device=self.device)
        with torch.no_grad():
            while len(written) < max_tokens:
                with self._turn:
                    output = backbone(input_ids=inputs, use_cache=True, logits_to_keep=1, **past)
                past = {_cache_keyword(backbone): _cache_of(output)}
                logits_V = output.logits[0, -1].float()
                if temperature > 0.0:
                    chances_V = (logits_V / temperature).softmax(-1)
                    choice = int(torch.multinomial(chances_V, 1, generator=generator))
                else:
                    choice = int(logits_V.argmax())
                if choice == end:
                    break
                written.append(choice)
                if stop is not None and stop in (text := tokens.decode(written)):
                    return text[: text.index(stop)]
                inputs = torch.tensor([[choice]], device=self.device)
        return tokens.decode(written)

    def _score_rest(
        self, past: Any, prompt_length: int, first_V: torch.Tensor, options: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """All continuations behind one prompt's keys and values, padded at their ends, [C]."""
        import torch

        backbone = self._loaded()
        longest = max(map(len, options))
        padded = torch.tensor(
            [[*ids, *[0] * (longest - len(ids))] for ids in options], device=self.device
        )
        past.batch_repeat_interleave(len(options))
        inputs_CT = padded[:, :-1]
        width = inputs_CT.shape[1]
        mask = torch.ones((width, prompt_length + width), dtype=torch.bool, device=self.device)
        mask = mask.tril(prompt_length)[None, None].expand(len(options), 1, -1, -1)
        with self._turn:
            logits_CTV = backbone(
                input_ids=inputs_CT,
                attention_mask=mask,
                position_ids=torch.arange(width, device=self.device)[None] + prompt_length,
                use_cache=True,
                **{_cache_keyword(backbone): past},
            ).logits
        logs_CTV = logits_CTV.float().log_softmax(-1)
        rest_CT = logs_CTV.gather(-1, padded[:, 1:, None])[..., 0]
        lengths = torch.tensor([len(ids) for ids in options], device=self.device)
        real = torch.arange(1, longest, device=self.device)[None] < lengths[:, None]
        scores_C: torch.Tensor = first_V[padded[:, 0]] + (rest_CT * real).sum(-1)
        return scores_C


class _Cache:
    """Embeddings of texts by one version of the weights, as rows of one growing matrix."""

    def __init__(self) -> None:
        self._version: object = None
        self._place: dict[str, int] = {}
        self._rows: torch.Tensor | None = None

    def rows(self, version: object, texts: Sequence[str]) -> torch.Tensor | None:
        """[B, D] where every text is known, else None."""
        import torch

        if version != self._version or self._rows is None:
            return None
        try:
            places = [self._place[text] for text in texts]
        except KeyError:
            return None
        return self._rows[torch.tensor(places, device=self._rows.device)]

    def missing(self, version: object, texts: Sequence[str]) -> list[str]:
        """The texts, each once, that are not known to this version of the weights."""
        if version != self._version or len(self._place) >= CACHED_TEXTS:
            self._version, self._place, self._rows = version, {}, None
        return [text for text in dict.fromkeys(texts) if text not in self._place]

    def add(
        self,
        version: object,
        fresh: Sequence[str],
        rows: torch.Tensor | None,
        texts: Sequence[str],
    ) -> torch.Tensor:
        import torch

        if rows is not None:
            self._place.update({text: len(self._place) + n for n, text in enumerate(fresh)})
            self._rows = rows if self._rows is None else torch.cat([self._rows, rows])
        found = self.rows(version, texts)
        assert found is not None
        return found


def _order(ids: Sequence[list[int]]) -> list[int]:
    """Texts in the order in which passes take them: longest first, so that little is padded, or side by side
    with those that begin alike where that spares a good part of all tokens."""
    longest_first = sorted(range(len(ids)), key=lambda index: -len(ids[index]))
    if sum(map(len, ids)) <= TOKENS_PER_PASS:
        return longest_first
    alphabetic = sorted(range(len(ids)), key=ids.__getitem__)
    spared = sum(attention.common_length(ids[a], ids[b]) for a, b in itertools.pairwise(alphabetic))
    return alphabetic if spared > SPARED_FRAC * sum(map(len, ids)) else longest_first


def _passes(order: Sequence[int], ids: Sequence[list[int]]) -> Iterator[list[int]]:
    """Cut an order of texts into passes of at most `TOKENS_PER_PASS` tokens (one text at least)."""
    part: list[int] = []
    filled = 0
    for index in order:
        if part and filled + len(ids[index]) > TOKENS_PER_PASS:
            yield part
            part, filled = [], 0
        part.append(index)
        filled += len(ids[index])
    if part:
        yield part


def _config_bytes(config: Mapping[str, Any]) -> bytes:
    """The transformers config without what depends on where and how it was made."""
    dropped = {"_name_or_path", "_attn_implementation", "_experts_implementation"}
    kept = {key: value for key, value in sorted(config.items()) if key not in dropped}
    return (json.dumps(kept, indent=2) + "\n").encode()


def _check_continuations(
    texts: Sequence[str], options: Sequence[Sequence[int]], context_tokens: int
) -> None:
    if not texts:
        raise ValueError("there is no continuation to score.")
    for text, ids in zip(texts, options, strict=True):
        if not ids:
            raise ValueError(f"the continuation {text!r} has no token.")
        if len(ids) >= context_tokens:
            raise ValueError(
                f"a continuation has {len(ids)} tokens; at most {context_tokens - 1} leave room for a prompt."
            )


def _saved_weights(backbone: Any) -> dict[str, torch.Tensor]:
    """The tensors of a model's file; a head that is tied to the embeddings is not written twice."""
    return {
        name: tensor.detach().contiguous().cpu()
        for name, tensor in backbone.state_dict().items()
        if not (name == "lm_head.weight" and backbone.config.tie_word_embeddings)
    }


def _write_weights(weights: dict[str, torch.Tensor], place: Path) -> None:
    """Raises: OSError, as a failed write of Python's own does."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(weights, place, metadata=WEIGHTS_METADATA)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _cache_keyword(backbone: Any) -> str:
    """What transformers calls the keys and values of earlier tokens: `cache` from 5.24 on."""
    names = inspect.signature(backbone.forward).parameters
    return "cache" if "cache" in names else "past_key_values"


def _cache_of(output: Any) -> Any:
    return output.cache if "cache" in output else output.past_key_values


def _read_backbone(folder: ModelFolder, device: str, dtype: str) -> Any:
    """The transformers model of a checked folder, with every silent fault of loading made an error."""
    from models.device import import_torch, pick_device

    torch = import_torch()
    place = pick_device(device)
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers import OlmoeForCausalLM

    attention.register()
    count_fused_steps()
    try:
        with quiet_transformers():
            backbone, report = OlmoeForCausalLM.from_pretrained(
                str(folder.path),
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                attn_implementation=attention.IMPLEMENTATION,
            )
    except (
        *(OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError),
        *(SafetensorError, StrictDataclassError),
    ) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200] + "."
        if "mismatched" in reason:
            reason = "its weights do not have the shapes that its config names."
        elif "automatic conversion" in reason:
            reason = "its experts are not those that its config names, or some of them are missing."
        raise ModelError(
            f"{folder.path} cannot be loaded: {reason}", "Install or download the model again."
        ) from error
    faults = {kind: names for kind, names in report.items() if names}
    if faults:
        told = "; ".join(f"{kind}: {sorted(map(str, names))[0]}" for kind, names in faults.items())
        raise ModelError(
            f"the weights in {folder.path} do not fit its config ({told}).",
            "The files are of two models, or damaged: install or download it again.",
        )
    for name, parameter in backbone.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise ModelError(
                f"{name} in {folder.path} is not finite.",
                "The file is damaged: install or download the model again.",
            )
    backbone.set_experts_implementation(experts.implementation())
    return backbone.to(place)


def _read_head(folder: ModelFolder, hidden_size: int) -> MemoryActionHead:
    """The folder's head, or a fresh one from a fixed seed. Raises: ModelError for a damaged one."""
    import torch
    from safetensors import SafetensorError, safe_open

    from models.action_head import MemoryActionHead

    path = folder.path / HEAD
    if HEAD not in folder.about.get("files", {}):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return MemoryActionHead(hidden_size)
    try:
        with safe_open(path, "pt") as file:
            size, *shape = map(int, (file.metadata() or {})[HEAD_SHAPE].split())
            if size != hidden_size:
                raise ValueError(f"it takes embeddings of {size}, the model gives {hidden_size}")
            head = MemoryActionHead(size, *shape)
            head.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        if not all(bool(torch.isfinite(each).all()) for each in head.parameters()):
            raise ValueError("it is not finite")
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"the action head {path} cannot be loaded: {reason}.",
            "Save the model again, or delete the head from the folder and its manifest.",
        ) from error
    return head


__all__ = ["ACTIONS", "MemoryActionHead", "OLMoEModel"]
