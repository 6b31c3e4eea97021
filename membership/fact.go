package membership

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/google/uuid"
)

// Fact is which catalog a node has, and where it is. Facts order by (generation,
// version).
type Fact struct {
	Version    uint64   // version of the catalog document
	Generation uint64   // raised by a forced recovery only
	Hash       [32]byte // of the document
	Internode  string   // its address, at most 255 bytes; empty: an older version does not tell
}

// Newer reports whether f names a later document than g.
func (f Fact) Newer(g Fact) bool {
	if f.Generation != g.Generation {
		return f.Generation > g.Generation
	}
	return f.Version > g.Version
}

// A fact travels as a node's memberlist meta:
// format u8 | cluster UUID 16 | generation u64 | version u64 | hash 32 |
// length u8 | internode address.
const (
	metaFormat = 1
	metaSize   = 1 + 16 + 8 + 8 + 32
)

// errForeign means that a node belongs to another cluster.
var errForeign = errors.New("it belongs to another cluster")

func appendMeta(dst []byte, cluster uuid.UUID, f Fact) []byte {
	dst = append(dst, metaFormat)
	dst = append(dst, cluster[:]...)
	dst = binary.BigEndian.AppendUint64(dst, f.Generation)
	dst = binary.BigEndian.AppendUint64(dst, f.Version)
	dst = append(dst, f.Hash[:]...)
	if len(f.Internode) > math.MaxUint8 {
		return append(dst, 0)
	}
	return append(append(dst, byte(len(f.Internode))), f.Internode...)
}

// parseMeta reads a node's meta. Later formats may append fields: bytes beyond
// the known ones are ignored, and earlier versions end after the hash.
func parseMeta(meta []byte, cluster uuid.UUID) (Fact, error) {
	var f Fact
	if len(meta) < metaSize {
		return f, fmt.Errorf("its meta has %d bytes, not %d", len(meta), metaSize)
	}
	if meta[0] < metaFormat {
		return f, fmt.Errorf("its meta has format %d, not %d", meta[0], metaFormat)
	}
	if [16]byte(meta[1:17]) != cluster {
		return f, errForeign
	}
	f.Generation = binary.BigEndian.Uint64(meta[17:25])
	f.Version = binary.BigEndian.Uint64(meta[25:33])
	f.Hash = [32]byte(meta[33:65])
	if rest := meta[metaSize:]; len(rest) > 0 && len(rest) > int(rest[0]) {
		f.Internode = string(rest[1 : 1+rest[0]])
	}
	return f, nil
}
