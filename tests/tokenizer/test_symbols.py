import pytest

from aura.core.errors import UserError
from aura.tokenizer.symbols import BASIC, ROLES, symbols


def make(*user_symbols: str, special_tokens: bool = True, reserved_tokens: int = 2):
    return symbols(special_tokens=special_tokens, reserved_tokens=reserved_tokens, user_symbols=user_symbols)


def test_special_tokens_come_first_and_in_this_order():
    assert make().special == (*BASIC, *ROLES, "<reserved_0>", "<reserved_1>")
    assert make(special_tokens=False, reserved_tokens=0).special == ("<pad>", "<bos>", "<eos>", "<unk>")


def test_a_user_symbol_that_is_special_stays_special_once_and_says_so():
    made = make("<INST>", "<RESP>", "<THINK>")  # the guide's own example
    assert made.special == make().special
    assert made.user == ("\n", "\t", "<RESP>", "<THINK>")
    assert "<INST>" in made.notices[0]
    assert "id 4" in made.notices[0]


def test_repeated_user_symbols_are_taken_once():
    assert make("<A>", "<A>", "\n").user == ("\n", "\t", "<A>")


@pytest.mark.parametrize("symbol", ["", "New York", " x", "a\u2581b", "a\0", "\x1f", "<0x0A>", "\ud800"])
def test_symbols_that_cannot_match_are_refused(symbol):
    with pytest.raises(UserError, match="cannot work"):
        make(symbol)


def test_special_ids_do_not_move_when_a_user_symbol_is_added(build, tokenizers):
    plain, more = tokenizers["bpe"], build(model_type="bpe", user_symbols=["<EXPERT_0>", "\n\n", ",", '"'])
    special = [token for token in range(plain.vocab_size) if plain.is_special(token)]
    assert special == list(range(30))
    assert [more.piece(token) for token in special] == [plain.piece(token) for token in special]
    assert [more.is_special(token) for token in special] == [True] * 30
    assert [more.piece(token) for token in range(30, 36)] == ["\n", "\t", "<EXPERT_0>", "\n\n", ",", '"']


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_user_symbols_are_kept_whole_anywhere(build, model_type):
    tokenizer = build(model_type=model_type, user_symbols=["<EXPERT_0>"])
    token = tokenizer.encode("<EXPERT_0>")
    assert len(token) == 1
    for text in ("a<EXPERT_0>b", " <EXPERT_0><EXPERT_0>", "x\n<EXPERT_0>\n"):
        ids = tokenizer.encode(text)
        assert ids.count(token[0]) == text.count("<EXPERT_0>")
        assert tokenizer.decode(ids) == text


def test_ids_of_special_tokens_are_named(tokenizer):
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (0, 1, 2, 3)
    assert tokenizer.decode([1, *tokenizer.encode("a b"), 2]) == "a b"
    assert tokenizer.byte_lengths[:30].sum() == 0
