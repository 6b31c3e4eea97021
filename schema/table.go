package schema

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/dunlindb/dunlin/record"
)

// Role is a column's part in its table, by CQL's names.
type Role string

// The roles.
const (
	Partition  Role = "partition_key"
	Clustering Role = "clustering"
	Static     Role = "static"
	Regular    Role = "regular"
)

// Column is one column of a table.
type Column struct {
	ID       uint16      `json:"id"` // in cells; of key columns too, so that all differ
	Name     string      `json:"name"`
	Kind     record.Kind `json:"type"`
	Role     Role        `json:"role"`
	Position int         `json:"position,omitempty"` // among the key columns of its role, from 0
	Desc     bool        `json:"descending,omitempty"`
}

// Table is one table. Window, Retention and Floor are about time windows: rows
// are kept by the week, say, and leave a whole window at a time.
type Table struct {
	ID         uint32   `json:"id"`
	Keyspace   string   `json:"keyspace"`
	Name       string   `json:"name"`
	Columns    []Column `json:"columns"` // sorted by id
	NextColumn uint16   `json:"next_column"`
	Window     Seconds  `json:"window_seconds,omitempty"`    // width of a window; 0: not windowed
	Retention  Seconds  `json:"retention_seconds,omitempty"` // how long rows are kept; 0: for ever
	Floor      uint32   `json:"floor,omitempty"`             // first window that is not retired; 0: none is
	AppendOnly bool     `json:"append_only,omitempty"`       // a row written twice with different content is a conflict
	Sloppy     bool     `json:"sloppy,omitempty"`            // other nodes may hold writes for replicas that are not alive, and count towards W
	ReadRepair Repair   `json:"read_repair,omitempty"`       // what reads do about replicas that are behind; "": RepairBlocking
}

// Repair says what a read does when it finds replicas behind.
type Repair string

// The ways of read repair.
const (
	RepairBlocking Repair = "blocking" // as many replicas as the level asks for are made equal before the answer
	RepairAsync    Repair = "async"    // the answer does not wait
	RepairOff      Repair = "off"      // nothing: anti-entropy will see to it
)

// Seconds is a length of time that is written as whole seconds in JSON.
type Seconds time.Duration

// Duration is s as the standard library has it.
func (s Seconds) Duration() time.Duration { return time.Duration(s) }

// String is s as the standard library writes it.
func (s Seconds) String() string { return time.Duration(s).String() }

// MarshalJSON writes a number of seconds.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendInt(nil, int64(time.Duration(s)/time.Second), 10), nil
}

// UnmarshalJSON reads a number of seconds.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	const most = math.MaxInt64 / int64(time.Second)
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || n < 0 || n > most {
		return fmt.Errorf("schema: %s is not a number of seconds from 0 to %d", b, most)
	}
	*s = Seconds(time.Duration(n) * time.Second)
	return nil
}

// FullName is the keyspace and the name, with a dot.
func (t *Table) FullName() string { return t.Keyspace + "." + t.Name }

// Windowed reports whether the table has time windows.
func (t *Table) Windowed() bool { return t.Window > 0 }

// Column finds a column by id; nil if there is none.
func (t *Table) Column(id uint16) *Column {
	i, ok := slices.BinarySearchFunc(t.Columns, id, func(c Column, id uint16) int { return cmp.Compare(c.ID, id) })
	if !ok {
		return nil
	}
	return &t.Columns[i]
}

// ColumnNamed finds a column by name; nil if there is none.
func (t *Table) ColumnNamed(name string) *Column {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i]
		}
	}
	return nil
}

// Key returns the key columns of a role, Partition or Clustering, by position.
func (t *Table) Key(role Role) []Column {
	var key []Column
	for _, c := range t.Columns {
		if c.Role == role {
			key = append(key, c)
		}
	}
	slices.SortFunc(key, func(a, b Column) int { return cmp.Compare(a.Position, b.Position) })
	return key
}

// Shape is what package record needs to know of the table.
func (t *Table) Shape() record.Shape {
	s := record.Shape{Table: t.ID, Window: t.Window.Duration()}
	for _, c := range t.Key(Clustering) {
		s.Clustering = append(s.Clustering, record.Component{Kind: c.Kind, Desc: c.Desc})
	}
	return s
}

func (t *Table) validate() error {
	if err := checkName(t.Name); err != nil {
		return fmt.Errorf("schema: table %q: %w", t.FullName(), err)
	}
	if t.ID == 0 {
		return fmt.Errorf("schema: table %s has no id", t.FullName())
	}
	switch t.ReadRepair {
	case "", RepairBlocking, RepairAsync, RepairOff:
	default:
		return fmt.Errorf("schema: table %s: read_repair is %q: give blocking, async or off", t.FullName(), t.ReadRepair)
	}
	for _, check := range []func() error{t.validateColumns, t.validateKey, t.validateWindows} {
		if err := check(); err != nil {
			return fmt.Errorf("schema: table %s: %w", t.FullName(), err)
		}
	}
	return nil
}

func (t *Table) validateColumns() error {
	if len(t.Columns) > ColumnsMax {
		return fmt.Errorf("%d columns, at most %d", len(t.Columns), ColumnsMax)
	}
	names := make(map[string]bool, len(t.Columns))
	for i, c := range t.Columns {
		switch {
		case c.Name == "" || len(c.Name) > NameMax:
			return fmt.Errorf("column %d: a name has 1 to %d bytes", c.ID, NameMax)
		case names[c.Name]:
			return fmt.Errorf("column %s is listed twice", c.Name)
		case c.ID == 0 || c.ID >= t.NextColumn:
			return fmt.Errorf("column %s has id %d, but ids lie from 1 to below the next, %d", c.Name, c.ID, t.NextColumn)
		case i > 0 && t.Columns[i-1].ID >= c.ID:
			return fmt.Errorf("column %s: ids must ascend, %d follows %d", c.Name, c.ID, t.Columns[i-1].ID)
		case !c.Kind.Known():
			return fmt.Errorf("column %s has an unknown type", c.Name)
		case c.Desc && c.Role != Clustering:
			return fmt.Errorf("column %s: only clustering columns descend", c.Name)
		}
		switch c.Role {
		case Partition, Clustering:
		case Static, Regular:
			if c.Position != 0 {
				return fmt.Errorf("column %s: only key columns have positions", c.Name)
			}
		default:
			return fmt.Errorf("column %s has the unknown role %q", c.Name, c.Role)
		}
		names[c.Name] = true
	}
	return nil
}

func (t *Table) validateKey() error {
	partition, clustering := t.Key(Partition), t.Key(Clustering)
	if len(partition) == 0 {
		return errors.New("it has no partition key")
	}
	for _, key := range [][]Column{partition, clustering} {
		for i, c := range key {
			if c.Position != i {
				return fmt.Errorf("key column %s is at position %d, not %d", c.Name, c.Position, i)
			}
		}
	}
	if len(clustering) == 0 {
		for _, c := range t.Columns {
			if c.Role == Static {
				return fmt.Errorf("static column %s: a table without clustering columns has one row a partition", c.Name)
			}
		}
	}
	return nil
}
