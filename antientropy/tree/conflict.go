package tree

import (
	"bytes"
	"errors"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/storage"
)

// Conflicts counts those of a peer's rows of a leaf, entries in key order that can be
// decoded, which are stored here with another value of a cell; example is the
// partition key of the first. The error may be storage.ErrCorrupt.
func Conflicts(e *storage.Engine, l record.Leaf, rows []byte) (count int, example []byte, err error) {
	cursor, err := e.Cursor(l.Bounds())
	if err != nil {
		return 0, nil, err
	}
	var own, theirs record.Row
	for len(rows) > 0 && err == nil {
		var key, fragment, stored []byte
		if key, fragment, rows, err = record.NextEntry(rows); err != nil {
			break
		}
		if !cursor.Seek(key) || !bytes.Equal(cursor.Key(), key) {
			err = cursor.Err()
			continue
		}
		if stored, err = cursor.Value(); err != nil {
			break
		}
		if record.DecodeRow(stored, &own) != nil || record.DecodeRow(fragment, &theirs) != nil || !own.Conflicts(&theirs) {
			continue
		}
		if count++; count == 1 {
			k, _ := record.ParseKey(key)
			example = bytes.Clone(k.Partition)
		}
	}
	return count, example, errors.Join(err, cursor.Close())
}
