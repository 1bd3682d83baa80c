"""Chat templates that do to a conversation what those of published reasoning models do, in a few lines each."""

from __future__ import annotations

START, END = "<|im_start|>", "<|im_end|>"

STRIPPING = """{%- for m in messages %}{%- set c = m.content %}
{%- if m.role == 'assistant' and not loop.last %}{%- set c = c.split('</think>')[-1] %}{%- endif %}
{{- '<|im_start|>' + m.role + '\\n' + c + '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
"""Forgets earlier thoughts."""

QWEN3 = """{%- for m in messages %}{%- set c = m.content %}{%- set thought = '' %}
{%- if m.role == 'assistant' and '</think>' in c %}
{%- set thought = c.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
{%- set c = c.split('</think>')[-1].lstrip('\\n') %}{%- endif %}
{%- if m.role == 'assistant' and loop.last %}{%- set c = '<think>\\n' + thought + '\\n</think>\\n\\n' + c %}{%- endif %}
{{- '<|im_start|>' + m.role + '\\n' + c + '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
"""Forgets earlier thoughts, and writes an empty one into a last reply that has none."""

DEEPSEEK_R1 = """{%- for m in messages %}{%- set c = m.content %}
{%- if m.role == 'assistant' %}{%- set c = c.split('</think>')[-1] %}{%- endif %}
{{- '<|im_start|>' + m.role + '\\n' + c }}{%- if m.role == 'assistant' %}{{- '<|im_end|>' }}{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}"""
"""Drops all thoughts, the last one too, but opens one in the generation prompt."""

EMPTY_FIRST = """{%- for m in messages %}{%- set c = m.content %}
{%- if m.role == 'assistant' %}{%- set c = '<think>\\n\\n</think>\\n\\n' + c %}{%- endif %}
{{- '<|im_start|>' + m.role + '\\n' + c + '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
"""Puts an empty thought before every reply, whatever that holds."""

DATED = """{{- '<|im_start|>system\\nToday: ' + strftime_now('%d %b %Y') + '<|im_end|>\\n' }}
{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
"""Prints the date."""

CHANNELS = """{%- for m in messages %}{%- if m.role == 'assistant' %}
{{- '<|im_start|>assistant<|channel|>final<|message|>' + m.content + '<|im_end|>' }}{%- else %}
{{- '<|im_start|>' + m.role + '<|message|>' + m.content + '<|im_end|>' }}{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant' }}{%- endif %}"""
"""Names a channel before a reply, in control tokens, as gpt-oss does."""

ENDLESS = """{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
"""Writes nothing after a reply, as GLM's do."""

ENDED_TWICE = """{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- else %}{{- '<|im_done|>' }}{%- endif %}"""
"""Writes the end of the text after the last reply's end, as Phi-3's do."""

ENDED_ONCE = """{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content }}
{%- if m.role == 'user' or loop.last %}{{- '<|im_end|>' }}{%- endif %}{{- '\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
"""Ends the last reply only."""

PARTS = """{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}
{%- for part in m.content %}{%- if part.type == 'text' %}{{- part.text }}{%- endif %}{%- endfor %}
{{- '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
"""Takes messages as lists of parts, as those of vision models do."""
