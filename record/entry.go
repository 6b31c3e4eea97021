package record

import (
	"encoding/binary"
	"errors"
)

// ErrCorrupt means that bytes are not an encoding of this package.
var ErrCorrupt = errors.New("record: corrupt encoding")

// AppendEntry appends one key and value as they travel in mutation groups and
// answers: uvarint length and bytes of each.
func AppendEntry(dst, key, value []byte) []byte {
	dst = appendBytes(dst, key)
	return appendBytes(dst, value)
}

// NextEntry takes the first entry off b. Key and value alias b. At the end of b
// it returns ErrCorrupt; callers loop while len(b) > 0.
func NextEntry(b []byte) (key, value, rest []byte, err error) {
	if key, b, err = takeBytes(b); err != nil {
		return nil, nil, nil, err
	}
	if value, b, err = takeBytes(b); err != nil {
		return nil, nil, nil, err
	}
	return key, value, b, nil
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

func takeBytes(b []byte) (head, rest []byte, err error) {
	n, b, err := takeUvarint(b)
	if err != nil || n > uint64(len(b)) {
		return nil, nil, ErrCorrupt
	}
	return b[:n:n], b[n:], nil
}

// takeUvarint refuses numbers written longer than needed, so that equal values
// have equal bytes.
func takeUvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 || (n > 1 && b[n-1] == 0) {
		return 0, nil, ErrCorrupt
	}
	return v, b[n:], nil
}

func appendSigned(dst []byte, v int64) []byte {
	return binary.AppendUvarint(dst, uint64(v)<<1^uint64(v>>63))
}

func takeSigned(b []byte) (int64, []byte, error) {
	u, b, err := takeUvarint(b)
	return int64(u>>1) ^ -int64(u&1), b, err
}
