"""What a model is told of a conversation: what was heard, and no more than fits."""

from __future__ import annotations

from server.speech.answers.history import CHARACTERS, TURNS, History
from server.speech.utterance import RATE, Finished, Utterance


def spoken(text: str, *words: str, seconds: float | None = None, of_s: float = 0.0) -> Utterance:
    """An utterance that was heard whole, or ``seconds`` of it."""
    utterance = Utterance("u", text=text)
    utterance.heard = list(words)
    utterance.received = int(of_s * RATE)
    cut = seconds is not None
    utterance.finish(Finished(0, int((seconds or 0) * RATE), cut))
    return utterance


def contents(history: History) -> list[str]:
    return [message["content"] for message in history.messages()]


def test_an_interrupted_answer_is_kept_up_to_where_it_was_heard() -> None:
    history = History("You are Mira.")
    turn = history.ask("How are you?")
    turn.answer = [
        spoken("I am well."),
        spoken("The weather, in short, is fine.", "The", "weather", "in", seconds=0.9),
        spoken("And you?", seconds=0.0),
    ]
    history.ask("Stop.")
    assert history.messages() == [
        {"role": "system", "content": "You are Mira."},
        {"role": "user", "content": "How are you?"},
        {"role": "assistant", "content": "I am well. The weather, in"},
        {"role": "user", "content": "Stop."},
    ]


def test_a_voice_without_words_is_cut_by_how_much_of_it_was_played() -> None:
    history = History("")
    history.ask("Count.").answer = [spoken("one two three four", seconds=1.0, of_s=2.0)]
    assert contents(history)[-1] == "one two"


def test_what_was_never_answered_aloud_belongs_to_the_next_question() -> None:
    history = History("")
    history.ask("What is").answer = [spoken("Well.", seconds=0.0)]
    history.ask("the time?")
    assert contents(history) == ["", "What is the time?"]


def test_old_turns_are_forgotten() -> None:
    history = History("p")
    for number in range(TURNS + 5):
        history.ask(str(number)).answer = [spoken("yes.")]
    assert contents(history)[1] == "5" and len(contents(history)) == 1 + 2 * TURNS
    history.ask("x" * 3 * CHARACTERS)
    assert contents(history) == ["p", "x" * CHARACTERS]
