"""Root and proofs agree with the definition, with published vectors, and with nothing that was changed."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarera_sim.adapters.memory import MemoryLog
from rarera_sim.core.errors import BadInput
from rarera_sim.core.event import Event
from rarera_sim.core.integrity import CHAIN_START, verify
from rarera_sim.core.merkle import (
    EMPTY_ROOT,
    Checkpointer,
    MerkleCheckpoint,
    Tree,
    prove_consistency,
    prove_inclusion,
    root_of,
    take_checkpoint,
    verify_checkpoint,
    verify_consistency,
    verify_inclusion,
)
from rarera_sim.core.signing import Ed25519Signer, open_note, sign_note

# certificate-transparency, merkle_tree_test: the leaves, and the root over the first one, two, ... of them.
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# The same suite: (position, size) and the proof.
INCLUSION = {
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (3, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (2, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def naive_root(entries):
    """RFC 6962, section 2.1, word for word."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\0" + entries[0]).digest()
    k = naive_split(len(entries))
    return sha256(b"\1" + naive_root(entries[:k]) + naive_root(entries[k:])).digest()


def naive_path(m, entries):
    if len(entries) == 1:
        return []
    k = naive_split(len(entries))
    if m < k:
        return [*naive_path(m, entries[:k]), naive_root(entries[k:])]
    return [*naive_path(m - k, entries[k:]), naive_root(entries[:k])]


def naive_subproof(m, entries, whole):
    if m == len(entries):
        return [] if whole else [naive_root(entries)]
    k = naive_split(len(entries))
    if m <= k:
        return [*naive_subproof(m, entries[:k], whole), naive_root(entries[k:])]
    return [*naive_subproof(m - k, entries[k:], False), naive_root(entries[:k])]


def naive_split(n):
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def uids(count):
    return [n.to_bytes(32, "big") for n in range(count)]


def a_log(count):
    log = MemoryLog()
    log.append([Event("EWR/UA1", "tick", {"n": n}, source="s", sequence=n, time=n) for n in range(1, count + 1)])
    return log


def test_the_published_roots():
    tree = Tree()
    assert tree.root() == EMPTY_ROOT
    for leaf, root in zip(LEAVES, ROOTS, strict=True):
        tree.add(leaf)
        assert tree.root().hex() == root


def test_the_published_proofs():
    for (position, size), proof in INCLUSION.items():
        assert [node.hex() for node in prove_inclusion(LEAVES, position, size)] == proof
    for (earlier, size), proof in CONSISTENCY.items():
        assert [node.hex() for node in prove_consistency(LEAVES, earlier, size)] == proof


def test_every_small_tree_is_the_one_of_the_definition():
    for size in range(1, 34):
        entries = uids(size)
        root = root_of(entries)
        assert root == naive_root(entries)
        for position in range(1, size + 1):
            proof = prove_inclusion(entries, position, size)
            assert proof == naive_path(position - 1, entries)
            assert verify_inclusion(entries[position - 1], position, size, proof, root)
        for earlier in range(1, size + 1):
            proof = prove_consistency(entries, earlier, size)
            assert proof == naive_subproof(earlier, entries, True)
            assert verify_consistency(earlier, naive_root(entries[:earlier]), size, root, proof)


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_tree_goes_on_from_its_peaks(first, more):
    entries = uids(first + more)
    tree = Tree()
    for entry in entries[:first]:
        tree.add(entry)
    again = Tree(tree.size, tree.peaks)
    for entry in entries[first:]:
        again.add(entry)
    assert again.root() == naive_root(entries)
    assert len(again.peaks) <= (first + more).bit_length()


@given(st.data())
def test_an_inclusion_proof_shows_nothing_else(data):
    size = data.draw(st.integers(1, 70))
    entries, root = uids(size), naive_root(uids(size))
    position = data.draw(st.integers(1, size))
    proof = prove_inclusion(iter(entries), position, size)
    entry = entries[position - 1]
    assert verify_inclusion(entry, position, size, proof, root)
    assert not verify_inclusion(entry, position, size, proof, EMPTY_ROOT)
    assert not verify_inclusion(b"another entry", position, size, proof, root)
    assert not verify_inclusion(entry, position, size, [*proof, root], root)
    assert not proof or not verify_inclusion(entry, position, size, proof[:-1], root)
    for elsewhere in {0, size + 1, data.draw(st.integers(1, size))} - {position}:
        assert not verify_inclusion(entry, elsewhere, size, proof, root)
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        changed = [*proof[:at], bytes([proof[at][0] ^ 1]) + proof[at][1:], *proof[at + 1 :]]
        assert not verify_inclusion(entry, position, size, changed, root)


@given(st.data())
def test_a_consistency_proof_shows_nothing_else(data):
    size = data.draw(st.integers(2, 70))
    entries, root = uids(size), naive_root(uids(size))
    earlier = data.draw(st.integers(1, size - 1))
    earlier_root = naive_root(entries[:earlier])
    proof = prove_consistency(iter(entries), earlier, size)
    assert verify_consistency(earlier, earlier_root, size, root, proof)
    assert not verify_consistency(earlier, EMPTY_ROOT, size, root, proof)
    assert not verify_consistency(earlier, earlier_root, size, EMPTY_ROOT, proof)
    assert not verify_consistency(earlier, earlier_root, size, root, [*proof, root])
    assert not verify_consistency(earlier, earlier_root, size, root, proof[:-1])
    assert not verify_consistency(size + 1, earlier_root, size, root, proof)
    at = data.draw(st.integers(0, len(proof) - 1))
    changed = [*proof[:at], bytes([proof[at][0] ^ 1]) + proof[at][1:], *proof[at + 1 :]]
    assert not verify_consistency(earlier, earlier_root, size, root, changed)


def test_a_tree_is_consistent_with_itself_and_with_nothing():
    root = naive_root(uids(5))
    assert prove_consistency(uids(5), 5, 5) == prove_consistency(uids(5), 0, 5) == []
    assert verify_consistency(5, root, 5, root, [])
    assert not verify_consistency(5, root, 5, EMPTY_ROOT, [])
    assert verify_consistency(0, EMPTY_ROOT, 5, root, [])
    assert not verify_consistency(0, root, 5, root, [])
    assert verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    assert not verify_consistency(0, EMPTY_ROOT, 0, root, [])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: prove_inclusion(uids(3), 4, 3), "position must be 1 to 3"),
        (lambda: prove_inclusion(uids(3), 0, 3), "position must be 1 to 3"),
        (lambda: prove_inclusion(uids(3), 1, 4), "fewer entries than the 4"),
        (lambda: prove_consistency(uids(3), 4, 3), "earlier must be 0 to 3"),
        (lambda: Tree(3, [EMPTY_ROOT]), "as many peaks"),
        (lambda: Tree(1, [b"short"]), "32 bytes"),
    ],
)
def test_what_cannot_be_proved_is_refused(call, message):
    with pytest.raises(BadInput, match=message):
        call()


# Checkpoints


def test_the_golden_checkpoint_never_changes():
    checkpoint = take_checkpoint(a_log(5), time=1_357_000_000_123_456_789, origin="example.org/log")
    assert checkpoint.text == (
        "example.org/log\n"
        "5\n"
        "FnYITvZa7q8PmOCuoP+fty8BAZsi9Qk5CnVM85g+2Y0=\n"
        "chain zayTi+Nu8fWrKN5psI9Qef4YJh0Q6mUS1+8PhgPzC0A=\n"
        "time 2013-01-01T00:26:40.123456789Z\n"
    )
    assert checkpoint.head == verify(a_log(5)).head


def test_a_checkpoint_taken_on_the_way_is_the_one_of_the_whole_log():
    log, checkpointer = a_log(9), Checkpointer()
    for recorded in log.read(upto=4):
        checkpointer.add(recorded.event.id)
    again = Checkpointer(Tree(checkpointer.tree.size, checkpointer.tree.peaks), checkpointer.chain)
    for recorded in log.read(after=4):
        again.add(recorded.event.id)
    assert again.checkpoint(time=7) == take_checkpoint(log, time=7)


def test_a_log_that_grew_fits_its_checkpoint_and_one_that_was_cut_or_written_anew_does_not():
    checkpoint = take_checkpoint(a_log(5), time=0)
    assert verify_checkpoint(a_log(9), checkpoint).intact
    cut = verify_checkpoint(a_log(4), checkpoint)
    assert (cut.intact, cut.position) == (False, 5)
    assert "tail is lost" in cut.reason
    anew = MemoryLog()
    anew.append([Event("EWR/UA1", "tick", {"n": 0}, source="s", sequence=n, time=n) for n in range(1, 8)])
    assert verify(anew).intact
    assert not verify_checkpoint(anew, checkpoint).intact


def test_a_checkpoint_that_contradicts_itself_is_found():
    checkpoint = take_checkpoint(a_log(5), time=0)
    other_root = verify_checkpoint(a_log(5), checkpoint._replace(root=EMPTY_ROOT))
    assert (other_root.intact, other_root.reason) == (
        False,
        "the Merkle root over the first 5 events is not the one that was recorded",
    )
    assert not verify_checkpoint(a_log(5), checkpoint._replace(chain=CHAIN_START)).intact
    nothing = take_checkpoint(MemoryLog(), time=0)
    assert verify_checkpoint(a_log(5), nothing).intact
    assert not verify_checkpoint(a_log(5), nothing._replace(chain=EMPTY_ROOT)).intact


hashes = st.binary(min_size=32, max_size=32)
checkpoints = st.builds(
    MerkleCheckpoint,
    st.integers(0, 2**63 - 1),
    hashes,
    hashes,
    st.integers(0, 2**63 - 1),
    st.text("abc/.-é", min_size=1),
)


@given(checkpoints)
def test_a_checkpoint_reads_back(checkpoint):
    assert MerkleCheckpoint.parse(checkpoint.text) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a log\n0\n",
        MerkleCheckpoint(0, EMPTY_ROOT, CHAIN_START, 0).text + "more\n",
        MerkleCheckpoint(0, EMPTY_ROOT, CHAIN_START, 0).text.replace("\n0\n", "\n00\n"),
        MerkleCheckpoint(0, EMPTY_ROOT, CHAIN_START, 0).text.replace("\n0\n", "\n-1\n"),
        MerkleCheckpoint(0, EMPTY_ROOT, CHAIN_START, 0).text.replace("\n0\n", "\n" + "9" * 10_000 + "\n"),
        MerkleCheckpoint(0, EMPTY_ROOT, CHAIN_START, 0).text.replace("\n0\n", "\n٣\n"),
        MerkleCheckpoint(0, EMPTY_ROOT, CHAIN_START, 0).text.replace("chain ", ""),
        MerkleCheckpoint(0, EMPTY_ROOT, CHAIN_START, 0).text.replace("chain a", "chain é"),
        MerkleCheckpoint(0, EMPTY_ROOT, CHAIN_START, 0).text.replace("hSuFU=", "hSuFV="),  # the same bytes
        MerkleCheckpoint(0, EMPTY_ROOT, CHAIN_START, 0).text.replace("Z", "+00:00"),
        MerkleCheckpoint(0, EMPTY_ROOT, CHAIN_START, 0).text.replace("time 1", "time one"),
        MerkleCheckpoint(0, EMPTY_ROOT, CHAIN_START, 0).text.replace("\n", "\r\n"),
        MerkleCheckpoint(0, EMPTY_ROOT, CHAIN_START, 0).text.replace("rarera.log", "rarera log"),
    ],
)
def test_text_that_is_no_checkpoint_is_refused(text):
    with pytest.raises(BadInput):
        MerkleCheckpoint.parse(text)


def test_a_signed_checkpoint_with_any_field_altered_is_refused():
    pytest.importorskip("cryptography")
    signer = Ed25519Signer("auditor", bytes(range(32)))
    checkpoint = take_checkpoint(a_log(5), time=1)
    signed = sign_note(checkpoint.text, signer)
    assert MerkleCheckpoint.parse(open_note(signed, [signer.verifier])) == checkpoint
    for other in (
        checkpoint._replace(position=4),
        checkpoint._replace(root=EMPTY_ROOT),
        checkpoint._replace(chain=CHAIN_START),
        checkpoint._replace(time=2),
        checkpoint._replace(origin="another"),
    ):
        with pytest.raises(BadInput, match="it was changed"):
            open_note(signed.replace(checkpoint.text, other.text), [signer.verifier])
    with pytest.raises(BadInput, match="not signed by a known key"):
        open_note(signed, [Ed25519Signer("auditor", bytes(32)).verifier])
