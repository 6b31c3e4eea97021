package document

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
)

// Format is the newest format of documents that this version reads, and the one that
// it writes. 1 knew no changes of the layout.
const Format = 2

// GossipKeyBytes is the length of the key that encrypts gossip (AES-256).
const GossipKeyBytes = 32

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
	// Removed are the nodes that may not come back, Replacing a dead one whose ranges
	// the next node that joins takes.
	Removed    []Removed    `json:"removed,omitempty"`
	Replacing  *ring.NodeID `json:"replacing,omitempty"`
	Recoveries []Recovery   `json:"recoveries,omitempty"`
}

// Removed is a node that was a member.
type Removed struct {
	ID      ring.NodeID `json:"id"`
	Kind    string      `json:"kind"` // of the change that removed it
	Version uint64      `json:"version"`
}

// Recovery is a time when somebody gave up a majority for lost.
type Recovery struct {
	Generation uint64        `json:"generation"`
	At         time.Time     `json:"at"`
	By         ring.NodeID   `json:"by"`
	Survivors  []ring.NodeID `json:"survivors"`
	Reason     string        `json:"reason"`
}

// WasRemoved finds a node among those that may not come back.
func (d *Document) WasRemoved(id ring.NodeID) (Removed, bool) {
	i := slices.IndexFunc(d.Removed, func(r Removed) bool { return r.ID == id })
	if i < 0 {
		return Removed{}, false
	}
	return d.Removed[i], true
}

// GaveUp reports whether a recovery has given up a member that has heard of generations
// up to one: for good, unlike a change that may be aborted.
func (d *Document) GaveUp(id ring.NodeID, generation uint64) bool {
	m, ok := d.Member(id)
	return ok && m.State == ring.Dead && slices.ContainsFunc(d.Recoveries, func(r Recovery) bool { return r.Generation > generation && !slices.Contains(r.Survivors, id) })
}

// Replaces reports whether a member is to be replaced by the next node that joins.
func (d *Document) Replaces(id ring.NodeID) bool { return d.Replacing != nil && *d.Replacing == id }

// Clone copies a document, so that a change cannot reach the original.
func (d Document) Clone() Document {
	d.GossipKey = slices.Clone(d.GossipKey)
	d.Layout = d.Layout.Clone()
	d.Schema = d.Schema.Clone()
	d.Removed, d.Recoveries = slices.Clone(d.Removed), slices.Clone(d.Recoveries)
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

// OnlyJoins reports whether a member is joining and nothing counts yet that it holds: it
// may be dropped as if it had never come.
func (d *Document) OnlyJoins(id ring.NodeID) bool {
	m, ok := d.Member(id)
	return ok && m.State == ring.Joining && d.Layout.Change.Phase != ring.Flipped
}

func (d *Document) validate() error {
	switch {
	case d.Format < 1:
		return Invalidf("the document has format %d", d.Format)
	case d.Cluster == uuid.Nil || d.Name == "" || len(d.Name) > NameMax:
		return Invalidf("the document names no cluster")
	case d.Version == 0:
		return Invalidf("the document has no version")
	case len(d.GossipKey) != GossipKeyBytes:
		return Invalidf("document %d has a gossip key of %d bytes", d.Version, len(d.GossipKey))
	}
	for _, m := range d.Layout.Members {
		if err := CheckAddresses(m.Addresses); err != nil {
			return Invalidf("document %d: member %s: %v", d.Version, m.ID, err)
		}
	}
	for rng, at := range d.Layout.ChangedAt {
		if at > d.Version {
			return Invalidf("document %d: range %d changed at version %d", d.Version, rng, at)
		}
	}
	return nil
}

// CheckSuccessor reports what forbids next to follow d. Whether next is valid by
// itself is decode's question.
func (d *Document) CheckSuccessor(next *Document) error {
	switch {
	case next.Cluster != d.Cluster || next.Generation != d.Generation || next.Version != d.Version+1:
		return Invalidf("document %d of cluster %s does not follow document %d of %s", next.Version, next.Cluster, d.Version, d.Cluster)
	case d.Sealed && !next.Sealed:
		return Invalidf("a sealed catalog cannot be opened again")
	}
	if err := d.checkLayout(next); err != nil {
		return err
	}
	if len(next.Removed) < len(d.Removed) || !slices.Equal(next.Removed[:len(d.Removed)], d.Removed) || len(next.Recoveries) != len(d.Recoveries) {
		return Invalidf("what was removed and recovered cannot be forgotten")
	}
	if err := d.Schema.CheckChange(&next.Schema); err != nil {
		return Invalidf("%v", err)
	}
	return nil
}

// checkLayout is CheckSuccessor for who holds what.
func (d *Document) checkLayout(next *Document) error {
	if d.Sealed {
		before, after := d.Schema.Placements(), next.Schema.Placements()
		if d.Layout.Change == nil && next.Layout.Change == nil {
			before, after = commonPlacements(&d.Schema, &next.Schema) // keyspaces come and go
		}
		if err := ring.CheckStep(&d.Layout, &next.Layout, next.Version, before, after); err != nil {
			return Invalidf("%v", err)
		}
		for _, m := range d.Layout.Members {
			_, stays := next.Member(m.ID)
			_, removed := next.WasRemoved(m.ID)
			if !stays && !removed && m.State != ring.Joining {
				return Invalidf("member %s is gone and not on the list of removed ones", m.ID)
			}
		}
		return nil
	}
	if next.Layout.Change != nil {
		return Invalidf("the layout changes at once as long as there is no data")
	}
	for _, m := range d.Layout.Members {
		after, ok := next.Member(m.ID)
		if !ok {
			return Invalidf("member %s cannot be removed before the first write: start anew", m.ID)
		}
		if after.Zone != m.Zone || after.Datacenter != m.Datacenter || after.Voter != m.Voter {
			return Invalidf("zone, datacenter and vote of member %s cannot change", m.ID)
		}
	}
	return nil
}

// Encode is the one encoding of a document. Its fields have a fixed order and maps
// are sorted, but nothing relies on that: what is decided is bytes.
func Encode(d *Document) ([]byte, error) {
	raw, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("catalog: encode document: %w", err)
	}
	return raw, nil
}

// Decode reads a document, and refuses one of a format that this version cannot
// serve by.
func Decode(raw []byte) (*Document, error) {
	doc := &Document{}
	if err := json.Unmarshal(raw, doc); err != nil {
		// A newer format need not even fit these types.
		var head struct {
			Format int `json:"format"`
		}
		if json.Unmarshal(raw, &head) == nil && head.Format > Format {
			return nil, &FormatError{Format: head.Format}
		}
		return nil, Invalidf("the document cannot be read: %v", err)
	}
	if doc.Format > Format {
		return nil, &FormatError{Format: doc.Format}
	}
	return doc, doc.validate()
}

// NameMax bounds the names of clusters, zones and datacenters, in bytes.
const NameMax = 255

// CheckAddresses wants host:port in each address.
func CheckAddresses(a ring.Addresses) error {
	for _, s := range []struct{ what, address string }{
		{"internode", a.Internode}, {"gossip", a.Gossip}, {"http", a.HTTP}, {"admin", a.Admin},
	} {
		host, port, err := net.SplitHostPort(s.address)
		if err != nil || host == "" || port == "" || len(s.address) > NameMax {
			return fmt.Errorf("%s address is %q: give host:port", s.what, s.address)
		}
	}
	return nil
}

// commonPlacements are those of the keyspaces that two schemas have.
func commonPlacements(a, b *schema.Schema) (before, after []ring.Placement) {
	for _, k := range a.Keyspaces {
		for _, o := range b.Keyspaces {
			if o.Name == k.Name {
				before, after = append(before, k.Replication), append(after, o.Replication)
			}
		}
	}
	return before, after
}
