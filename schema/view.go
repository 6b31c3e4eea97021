package schema

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
)

// Identity says which catalog document a View was made from. Documents order by
// generation, then version.
type Identity struct {
	Cluster    uuid.UUID
	Generation uint64
	Version    uint64
	Sealed     bool // data may exist: ownership changes only by moving it
}

// View is what a node serves by: one catalog version's ring and tables. It is
// immutable and shared; nothing reached from it may be changed.
type View struct {
	Identity
	Ring *ring.Ring

	tables  []*TableView
	byID    map[uint32]*TableView
	byTable map[tableName]*TableView
}

type tableName struct{ keyspace, table string }

// TableView is a table with what is derived from it.
type TableView struct {
	*Table
	Shape     record.Shape
	Placement int // of its keyspace: the index that ring.Ring's methods take
}

// NewView makes the view of one catalog document. It copies the schema, and
// shares the layout.
func NewView(at Identity, l *ring.Layout, s *Schema) (*View, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	own := s.Clone()
	r, err := ring.New(l, at.Version, own.Placements())
	if err != nil {
		return nil, fmt.Errorf("schema: view of catalog version %d: %w", at.Version, err)
	}
	v := &View{
		Identity: at, Ring: r,
		tables:  make([]*TableView, 0, len(own.Tables)),
		byID:    make(map[uint32]*TableView, len(own.Tables)),
		byTable: make(map[tableName]*TableView, len(own.Tables)),
	}
	placement := make(map[string]int, len(own.Keyspaces))
	for i, k := range own.Keyspaces {
		placement[k.Name] = i
	}
	for i := range own.Tables {
		t := &own.Tables[i]
		tv := &TableView{Table: t, Shape: t.Shape(), Placement: placement[t.Keyspace]}
		v.tables = append(v.tables, tv)
		v.byID[t.ID] = tv
		v.byTable[tableName{t.Keyspace, t.Name}] = tv
	}
	return v, nil
}

// Table finds a table by id; nil if there is none.
func (v *View) Table(id uint32) *TableView { return v.byID[id] }

// TableNamed finds a table by name; nil if there is none.
func (v *View) TableNamed(keyspace, table string) *TableView {
	return v.byTable[tableName{keyspace, table}]
}

// Tables returns all tables by id. The slice must not be changed.
func (v *View) Tables() []*TableView { return v.tables }

// Newer reports whether v was made from a later catalog document than o, which
// may be nil.
func (v *View) Newer(o *View) bool {
	if o == nil {
		return true
	}
	if v.Generation != o.Generation {
		return v.Generation > o.Generation
	}
	return v.Version > o.Version
}
