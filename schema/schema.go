package schema

import (
	"fmt"
	"maps"
	"slices"

	"github.com/dunlindb/dunlin/ring"
)

// The bounds of a schema.
const (
	KeyspacesMax = 256
	TablesMax    = 1024
	ColumnsMax   = 1024 // of one table
	NameMax      = 48   // bytes of a keyspace's or table's name, as in Cassandra
)

// Schema is all keyspaces and tables of a cluster. The zero value has none.
type Schema struct {
	Keyspaces []Keyspace `json:"keyspaces"`
	Tables    []Table    `json:"tables"` // sorted by id
	NextTable uint32     `json:"next_table"`
}

// Keyspace is a group of tables whose rows are placed alike.
type Keyspace struct {
	Name        string         `json:"name"`
	Replication ring.Placement `json:"replication"`
}

// Clone copies a schema, so that a change cannot reach the original.
func (s Schema) Clone() Schema {
	s.Keyspaces, s.Tables = slices.Clone(s.Keyspaces), slices.Clone(s.Tables)
	for i := range s.Keyspaces {
		r := &s.Keyspaces[i].Replication
		r.Factors = maps.Clone(r.Factors)
	}
	for i := range s.Tables {
		s.Tables[i].Columns = slices.Clone(s.Tables[i].Columns)
	}
	return s
}

// Keyspace finds a keyspace by name; nil if there is none.
func (s *Schema) Keyspace(name string) *Keyspace {
	for i := range s.Keyspaces {
		if s.Keyspaces[i].Name == name {
			return &s.Keyspaces[i]
		}
	}
	return nil
}

// Table finds a table by id; nil if there is none.
func (s *Schema) Table(id uint32) *Table {
	for i := range s.Tables {
		if s.Tables[i].ID == id {
			return &s.Tables[i]
		}
	}
	return nil
}

// TableNamed finds a table by name; nil if there is none.
func (s *Schema) TableNamed(keyspace, table string) *Table {
	for i := range s.Tables {
		if t := &s.Tables[i]; t.Keyspace == keyspace && t.Name == table {
			return t
		}
	}
	return nil
}

// Placements are the keyspaces' replications, in their order: what ring.New and
// Layout.Join take, and what TableView.Placement indexes.
func (s *Schema) Placements() []ring.Placement {
	placements := make([]ring.Placement, len(s.Keyspaces))
	for i, k := range s.Keyspaces {
		placements[i] = k.Replication
	}
	return placements
}

// NotFoundError names a table that does not exist.
type NotFoundError struct{ Table string }

// Error says so.
func (e *NotFoundError) Error() string { return "there is no table " + e.Table }

// Validate reports what makes a schema unusable, naming the place.
func (s *Schema) Validate() error {
	if len(s.Keyspaces) > KeyspacesMax || len(s.Tables) > TablesMax {
		return fmt.Errorf("schema: %d keyspaces and %d tables: at most %d and %d", len(s.Keyspaces), len(s.Tables), KeyspacesMax, TablesMax)
	}
	keyspaces := make(map[string]bool, len(s.Keyspaces))
	for _, k := range s.Keyspaces {
		if err := k.validate(); err != nil {
			return err
		}
		if keyspaces[k.Name] {
			return fmt.Errorf("schema: keyspace %s is listed twice", k.Name)
		}
		keyspaces[k.Name] = true
	}
	names := make(map[string]bool, len(s.Tables))
	for i := range s.Tables {
		t := &s.Tables[i]
		if err := t.validate(); err != nil {
			return err
		}
		switch {
		case t.ID >= s.NextTable:
			return fmt.Errorf("schema: table %s has id %d, but the next to be given out is %d", t.FullName(), t.ID, s.NextTable)
		case i > 0 && s.Tables[i-1].ID >= t.ID:
			return fmt.Errorf("schema: table %s: ids must ascend, %d follows %d", t.FullName(), t.ID, s.Tables[i-1].ID)
		case !keyspaces[t.Keyspace]:
			return fmt.Errorf("schema: table %s: there is no keyspace %q", t.FullName(), t.Keyspace)
		case names[t.FullName()]:
			return fmt.Errorf("schema: table %s is listed twice", t.FullName())
		}
		names[t.FullName()] = true
	}
	return nil
}

func (k *Keyspace) validate() error {
	if err := checkName(k.Name); err != nil {
		return fmt.Errorf("schema: keyspace %q: %w", k.Name, err)
	}
	if err := k.Replication.Validate(); err != nil {
		return fmt.Errorf("schema: keyspace %s: %w", k.Name, err)
	}
	return nil
}

// checkName accepts what Cassandra accepts: 1 to NameMax letters, digits and
// underscores.
func checkName(name string) error {
	if len(name) == 0 || len(name) > NameMax {
		return fmt.Errorf("a name has 1 to %d characters", NameMax)
	}
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_':
		default:
			return fmt.Errorf("a name has letters, digits and underscores only, not %q", c)
		}
	}
	return nil
}
