package membership

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// memberlist's framing (v0.7, encryption version 1), as far as it is needed to
// refuse what was not sealed with the cluster's key:
//
//	packet: label | sealed              additional data: the label's bytes
//	stream: label | 10 | length u32 | sealed   additional data: 10, length, label's bytes
//	label:  244 | length u8 | bytes
//	sealed: 1 | nonce 12 | ciphertext | tag 16       (AES-GCM)
const (
	labelMark      = 244
	encryptedMark  = 10
	sealedVersion  = 1
	nonceSize      = 12
	tagSize        = 16
	sealedOverhead = 1 + nonceSize + tagSize
)

// maxStreamBytes bounds one message of a stream: the state of some 5,000 nodes.
const maxStreamBytes = 1 << 20

// Reasons to refuse bytes from outside, as in the metrics.
const (
	reasonGarbage    = "garbage"    // not memberlist's framing
	reasonForeign    = "foreign"    // another cluster's label
	reasonSize       = "size"       // too short or too long
	reasonKey        = "key"        // not sealed with this cluster's key, or tampered with
	reasonTooMany    = "too_many"   // over the bound of concurrent streams
	reasonIncomplete = "incomplete" // the stream ended or stalled within a message
)

// refusal is why bytes from outside were refused.
type refusal struct {
	reason string
	detail string
}

func (r *refusal) Error() string { return r.detail }

func refuse(reason, format string, args ...any) *refusal {
	return &refusal{reason: reason, detail: fmt.Sprintf(format, args...)}
}

// authenticator tells whether bytes were sealed with the cluster's key, without
// keeping or changing them.
type authenticator struct {
	label string
	aead  cipher.AEAD
}

func newAuthenticator(key []byte, label string) (*authenticator, error) {
	if len(key) == 0 {
		return nil, errors.New("membership: the gossip key is missing: gossip is always encrypted")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("membership: gossip key of %d bytes (it must have 16, 24 or 32): %w", len(key), err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("membership: gossip key: %w", err)
	}
	return &authenticator{label: label, aead: aead}, nil
}

// headerSize is the length of the label's form on the wire.
func (a *authenticator) headerSize() int { return 2 + len(a.label) }

// checkLabel checks the first headerSize bytes of a packet or stream.
func (a *authenticator) checkLabel(b []byte) *refusal {
	if b[0] != labelMark {
		return refuse(reasonGarbage, "it does not begin with a cluster label")
	}
	if int(b[1]) != len(a.label) || string(b[2:a.headerSize()]) != a.label {
		return refuse(reasonForeign, "it is labelled with another cluster")
	}
	return nil
}

// checkSealed checks a sealed payload. scratch is overwritten and returned, so
// that callers can reuse it.
func (a *authenticator) checkSealed(sealed, additional, scratch []byte) ([]byte, *refusal) {
	if len(sealed) < sealedOverhead+1 {
		return scratch, refuse(reasonSize, "its sealed part has %d bytes", len(sealed))
	}
	if sealed[0] != sealedVersion {
		return scratch, refuse(reasonGarbage, "its encryption has version %d", sealed[0])
	}
	scratch, err := a.aead.Open(scratch[:0], sealed[1:1+nonceSize], sealed[1+nonceSize:], additional)
	if err != nil {
		return scratch, refuse(reasonKey, "it is not sealed with this cluster's key")
	}
	return scratch, nil
}

// checkPacket checks a whole datagram.
func (a *authenticator) checkPacket(b, scratch []byte) ([]byte, *refusal) {
	if len(b) < a.headerSize()+sealedOverhead+1 {
		return scratch, refuse(reasonSize, "it has %d bytes", len(b))
	}
	if r := a.checkLabel(b); r != nil {
		return scratch, r
	}
	return a.checkSealed(b[a.headerSize():], []byte(a.label), scratch)
}

// readStream reads the one message that opens a stream, label included, and
// returns its bytes. It allocates in step with what arrives, and nothing before
// the header has proved plausible.
func (a *authenticator) readStream(r io.Reader) ([]byte, *refusal) {
	head := make([]byte, a.headerSize()+5)
	if _, err := io.ReadFull(r, head[:1]); err != nil {
		return nil, refuse(reasonIncomplete, "it ended before its first byte: %v", err)
	}
	if head[0] != labelMark {
		return nil, refuse(reasonGarbage, "it does not begin with a cluster label")
	}
	if _, err := io.ReadFull(r, head[1:]); err != nil {
		return nil, refuse(reasonIncomplete, "it ended within its header: %v", err)
	}
	if r := a.checkLabel(head); r != nil {
		return nil, r
	}
	frame := head[a.headerSize():]
	if frame[0] != encryptedMark {
		return nil, refuse(reasonGarbage, "its message is not encrypted")
	}
	n := binary.BigEndian.Uint32(frame[1:])
	if n <= sealedOverhead || n > maxStreamBytes {
		return nil, refuse(reasonSize, "its message claims %d bytes, at most %d are accepted", n, maxStreamBytes)
	}
	message, err := readGrowing(r, head, int(n))
	if err != nil {
		return nil, refuse(reasonIncomplete, "it ended within its message: %v", err)
	}
	additional := append([]byte(nil), message[a.headerSize():len(head)]...)
	additional = append(additional, a.label...)
	if _, r := a.checkSealed(message[len(head):], additional, nil); r != nil {
		return nil, r
	}
	return message, nil
}

// readGrowing appends n bytes of r to dst, growing it at most to the double of
// what has arrived.
func readGrowing(r io.Reader, dst []byte, n int) ([]byte, error) {
	const first = 4 << 10
	for step := first; n > 0; step *= 2 {
		part := min(n, step)
		old := len(dst)
		dst = append(dst, make([]byte, part)...)
		if _, err := io.ReadFull(r, dst[old:]); err != nil {
			return nil, err
		}
		n -= part
	}
	return dst, nil
}
