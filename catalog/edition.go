package catalog

import (
	"crypto/sha256"

	"github.com/dunlindb/dunlin/catalog/document"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
)

// The document, as its package has it.
type (
	Document = document.Document
	Hash     = document.Hash
	Settings = document.Settings
)

// WithMember is a document with a node that joins, with others if together is above 1.
// The error may be ErrUnchanged.
func WithMember(d Document, m ring.Member, together int) (Document, error) {
	return document.WithMember(d, m, together)
}

// edition is a decided document with what follows from it. It is immutable.
type edition struct {
	doc  *Document
	raw  []byte // as decided
	hash Hash
	view *schema.View
}

// above reports whether this edition lies above a generation and version.
func (e *edition) above(generation, version uint64) bool {
	if e == nil {
		return false
	}
	if e.doc.Generation != generation {
		return e.doc.Generation > generation
	}
	return e.doc.Version > version
}

// newer reports whether a generation and version lie above this edition's.
func (e *edition) newer(generation, version uint64) bool {
	if e == nil {
		return true
	}
	if generation != e.doc.Generation {
		return generation > e.doc.Generation
	}
	return version > e.doc.Version
}

// decode reads a document with what follows from it.
func decode(raw []byte) (*edition, error) {
	doc, err := document.Decode(raw)
	if err != nil {
		return nil, err
	}
	identity := schema.Identity{Cluster: doc.Cluster, Generation: doc.Generation, Version: doc.Version, Sealed: doc.Sealed}
	view, err := schema.NewView(identity, &doc.Layout, &doc.Schema)
	if err != nil {
		return nil, document.Invalidf("document %d: %v", doc.Version, err)
	}
	return &edition{doc: doc, raw: raw, hash: sha256.Sum256(raw), view: view}, nil
}
