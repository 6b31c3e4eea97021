package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
)

// format is the newest format of documents that this version reads, and the one
// that it writes.
const format = 1

// gossipKeyBytes is the length of the key that encrypts gossip (AES-256).
const gossipKeyBytes = 32

// Hash identifies a document by its encoded bytes.
type Hash [sha256.Size]byte

// MarshalText writes a hash in hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h[:])), nil }

// UnmarshalText reads what MarshalText writes.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(h)) {
		return fmt.Errorf("catalog: a hash has %d characters, not %d", hex.EncodedLen(len(h)), len(text))
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// String is the hash's first characters, for logs.
func (h Hash) String() string { return hex.EncodeToString(h[:6]) }

// Settings are what was chosen when the cluster was made.
type Settings struct {
	ReplicationFactor int `json:"replication_factor"` // of the built-in keyspace
}

// Document is one version of the catalog.
type Document struct {
	Format     int           `json:"format"`
	Cluster    uuid.UUID     `json:"cluster"`
	Name       string        `json:"name"`
	Generation uint64        `json:"generation"` // raised by a forced recovery only
	Version    uint64        `json:"version"`    // from 1
	Previous   Hash          `json:"previous"`   // of the document before
	Proposal   uuid.UUID     `json:"proposal"`   // distinguishes proposals of equal content
	Sealed     bool          `json:"sealed"`     // data may exist
	Settings   Settings      `json:"settings"`
	GossipKey  []byte        `json:"gossip_key"`
	Layout     ring.Layout   `json:"layout"`
	Schema     schema.Schema `json:"schema"`
}

// Clone copies a document, so that a change cannot reach the original.
func (d Document) Clone() Document {
	d.GossipKey = slices.Clone(d.GossipKey)
	d.Layout = d.Layout.Clone()
	d.Schema = d.Schema.Clone()
	return d
}

// Member finds a member.
func (d *Document) Member(id ring.NodeID) (ring.Member, bool) {
	i, ok := d.Layout.Index(id)
	if !ok {
		return ring.Member{}, false
	}
	return d.Layout.Members[i], true
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

// encode is the one encoding of a document. Its fields have a fixed order and maps
// are sorted, but nothing relies on that: what is decided is bytes.
func encode(d *Document) ([]byte, error) {
	raw, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("catalog: encode document: %w", err)
	}
	return raw, nil
}

// decode reads a document, and refuses one that this version cannot serve by.
func decode(raw []byte) (*edition, error) {
	doc := &Document{}
	if err := json.Unmarshal(raw, doc); err != nil {
		// A newer format need not even fit these types.
		var head struct {
			Format int `json:"format"`
		}
		if json.Unmarshal(raw, &head) == nil && head.Format > format {
			return nil, &FormatError{Format: head.Format}
		}
		return nil, invalidf("the document cannot be read: %v", err)
	}
	if doc.Format > format {
		return nil, &FormatError{Format: doc.Format}
	}
	if err := doc.validate(); err != nil {
		return nil, err
	}
	identity := schema.Identity{Cluster: doc.Cluster, Generation: doc.Generation, Version: doc.Version, Sealed: doc.Sealed}
	view, err := schema.NewView(identity, &doc.Layout, &doc.Schema)
	if err != nil {
		return nil, invalidf("document %d: %v", doc.Version, err)
	}
	return &edition{doc: doc, raw: raw, hash: sha256.Sum256(raw), view: view}, nil
}

func (d *Document) validate() error {
	switch {
	case d.Format < 1:
		return invalidf("the document has format %d", d.Format)
	case d.Cluster == uuid.Nil || d.Name == "" || len(d.Name) > nameMax:
		return invalidf("the document names no cluster")
	case d.Version == 0:
		return invalidf("the document has no version")
	case len(d.GossipKey) != gossipKeyBytes:
		return invalidf("document %d has a gossip key of %d bytes", d.Version, len(d.GossipKey))
	}
	for _, m := range d.Layout.Members {
		if err := checkAddresses(m.Addresses); err != nil {
			return invalidf("document %d: member %s: %v", d.Version, m.ID, err)
		}
	}
	for rng, at := range d.Layout.ChangedAt {
		if at > d.Version {
			return invalidf("document %d: range %d changed at version %d", d.Version, rng, at)
		}
	}
	return nil
}

// checkSuccessor reports what forbids next to follow d. Whether next is valid by
// itself is decode's question.
func (d *Document) checkSuccessor(next *Document) error {
	switch {
	case next.Cluster != d.Cluster || next.Generation != d.Generation || next.Version != d.Version+1:
		return invalidf("document %d of cluster %s does not follow document %d of %s", next.Version, next.Cluster, d.Version, d.Cluster)
	case d.Sealed && !next.Sealed:
		return invalidf("a sealed catalog cannot be opened again")
	}
	for _, m := range d.Layout.Members {
		after, ok := next.Member(m.ID)
		if !ok {
			return invalidf("member %s cannot be removed", m.ID)
		}
		if after.Zone != m.Zone || after.Datacenter != m.Datacenter || after.Voter != m.Voter {
			return invalidf("zone, datacenter and vote of member %s cannot change", m.ID)
		}
	}
	if d.Sealed {
		if len(next.Layout.Members) != len(d.Layout.Members) || !slices.Equal(next.Layout.Owners, d.Layout.Owners) {
			return &SealedError{}
		}
		for rng, at := range d.Layout.ChangedAt {
			if next.Layout.ChangedAt[rng] != at {
				return &SealedError{}
			}
		}
	}
	if err := d.Schema.CheckChange(&next.Schema); err != nil {
		return invalidf("%v", err)
	}
	return nil
}
