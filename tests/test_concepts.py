from __future__ import annotations

import pytest

from bounceml import tables
from bounceml.concepts import concept_features, concepts, without_accents


@pytest.mark.parametrize(
    "template",
    [
        "no such user",
        "user doesn't exist",
        "the user does not exist",
        "nonexistent user",
        "user not found",
        "benutzer unbekannt",
        "utilisateur inconnu",
        "utente sconosciuto",
        "el usuario no existe",
        "usuário inexistente",
        "пользователь не найден",
        "użytkownik nie istnieje",
        "kullanıcı bulunamadı",
        "gebruiker bestaat niet",
        "用户不存在",
        "ユーザーが見つかりません",
        "사용자를 찾을 수 없습니다",
        "ไม่พบผู้ใช้",
        "người dùng không tồn tại",
    ],
)
def test_a_missing_user_is_one_in_every_language(template: str) -> None:
    assert sorted(concepts(template)) == ["missing", "user"]


def test_order_of_words_does_not_matter() -> None:
    assert set(concept_features("mailbox is full")) == set(concept_features("満杯のメールボックス")) == {"mailbox", "full", "full&mailbox"}


def test_a_masked_host_is_no_word() -> None:
    assert concepts("<host> said: unknown host") == ["<host>", "missing", "host"]


def test_words_of_two_scripts_in_one_run() -> None:
    assert concepts("发件人spf验证") == ["sender", "authentication", "verify"]


def test_accents_may_be_lost() -> None:
    assert concepts("boîte pleine") == concepts("boite pleine") == ["mailbox", "full"]


@pytest.mark.parametrize("template", ["", "550", "xyzzy"])
def test_nothing_known_gives_nothing(template: str) -> None:
    assert concept_features(template) == []


@pytest.mark.parametrize("kind", ["words", "phrases"])
def test_a_form_stands_for_one_concept(kind: str) -> None:
    owners: dict[str, str] = {}
    for concept, language, forms in tables.concepts(kind):
        for form in forms if language != "=" else ():
            assert form == form.strip()
            assert form.strip("*")
            assert owners.setdefault(form, concept) == concept, form


def test_joined_concepts_are_made_of_known_ones() -> None:
    rows = list(tables.concepts("words"))
    said = {concept for concept, _, _ in rows}
    assert {part for _, language, forms in rows if language == "=" for form in forms for part in form.split()} <= said


def test_words_are_written_without_accents_and_blanks() -> None:
    for concept, language, forms in list(tables.concepts("words")):
        if language != "=":
            assert [without_accents(form) for form in forms] == list(forms), (concept, language)
            assert not any(" " in form for form in forms), (concept, language)


def test_both_tables_speak_of_the_same_concepts() -> None:
    assert {row.concept for row in tables.concepts("phrases")} <= {concept for concept, _, _ in list(tables.concepts("words"))}
