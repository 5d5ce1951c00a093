"""The chat template of tokenizer_config.json: messages in, the text that a model is trained on and asked with.

A message is the token of its role and its text; <eos> ends what the model must learn to end. The text and <eos> of
assistant messages are marked as generated, which is what `return_assistant_tokens_mask` shows. A message that the
template has no form for is an error that names it: nothing of a chat is left out silently.
"""

from collections.abc import Mapping

_CHAT_ROLES = ("system", "user", "assistant", "thought", "action", "observation")
TOKENS = {role: f"<{role.upper()}>" for role in _CHAT_ROLES} | {"tool": "<OBSERVATION>"}  # a model observes its result
NAMES = " or ".join([", ".join([*TOKENS][:-1]), [*TOKENS][-1]])


def _error(expected: str, got: str) -> str:
    """Jinja that stops at message `number`; `got` is an expression."""
    return f"{{{{ raise_exception('message ' ~ number ~ ': expected {expected}, got ' ~ ({got})) }}}}"


_TEXT = (  # of one message: its content, or all parts of it
    "{% macro text(content, number) %}"
    "{% if content is string %}{{ content }}"
    "{% elif content is defined and content is iterable and content is not mapping %}"
    "{% for part in content %}"
    "{% if part is string %}{{ part }}"
    "{% elif part is mapping and part['type'] == 'text' and part['text'] is string %}{{ part['text'] }}"
    f"{{% else %}}{_error('parts of type text alone', 'part')}{{% endif %}}"
    "{% endfor %}"
    f"{{% else %}}{_error('text or a list of text parts as content', 'content if content is defined else none')}"
    "{% endif %}"
    "{% endmacro %}"
)
_WRONG_ROLE = _error(f"a role out of {NAMES}", "message['role']")
_ACTION, _THOUGHT = "tool calls written as text of role action", "thoughts written as text of role thought"
_ELSEWHERE = {  # where the template has what other templates take from these keys of a message
    **dict.fromkeys(("tool_calls", "function_call"), _ACTION),
    **dict.fromkeys(("reasoning_content", "reasoning", "thinking"), _THOUGHT),
}
_REFUSED = "{% if message['role'] is not string or message['role'] not in tokens %}" + _WRONG_ROLE + "{% endif %}"
for _key, _form in _ELSEWHERE.items():
    _got = f"message['{_key}']"
    _REFUSED += f"{{% if {_got} %}}{_error(_form, _got)}{{% endif %}}"
_MESSAGES = (
    "{% if tools %}"
    "{{ raise_exception('this chat template has no form for tools: describe them in the system message') }}"
    "{% endif %}"
    "{% if documents %}"
    "{{ raise_exception('this chat template has no form for documents: quote them in a message') }}"
    "{% endif %}"
    "{{ bos_token }}"
    "{% for message in messages %}{% set number = loop.index %}"
    f"{_REFUSED}"
    "{{ tokens[message['role']] }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ text(message['content'], number) }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ text(message['content'], number) }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ tokens['assistant'] }}{% endif %}"
)


def template(tokens: Mapping[str, str]) -> str:
    """The chat template with a token for each role of `TOKENS`; none may have a character that Jinja reads."""
    listed = ", ".join(f"'{role}': '{tokens[role]}'" for role in TOKENS)
    return f"{_TEXT}{{% set tokens = {{{listed}}} %}}{_MESSAGES}"


CHAT_TEMPLATE = template(TOKENS)
