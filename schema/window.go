package schema

import (
	"errors"
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/record"
)

// The bounds of windows. Every window that a slice crosses costs a seek, so a
// table is meant to have some hundreds; a retention may not ask for more than
// WindowsMax.
const (
	WindowMin  = time.Hour
	WindowsMax = 4096
)

func (t *Table) validateWindows() error {
	if !t.Windowed() {
		if t.Window < 0 || t.Retention != 0 || t.Floor != 0 {
			return errors.New("only a table with windows has a retention and a floor")
		}
		return nil
	}
	if t.Window.Duration() < WindowMin || t.Window.Duration()%time.Second != 0 {
		return fmt.Errorf("a window of %s: give whole seconds, %s or more", t.Window, WindowMin)
	}
	if c := t.Key(Clustering); len(c) == 0 || (c[0].Kind != record.TimeUUID && c[0].Kind != record.Timestamp) {
		return errors.New("windows need a timeuuid or timestamp as the first clustering column")
	}
	for _, c := range t.Columns {
		if c.Role == Static {
			return fmt.Errorf("static column %s: a windowed table has none, since windows leave one by one", c.Name)
		}
	}
	return t.checkRetention(t.Retention.Duration())
}

// checkRetention refuses a retention that the table cannot keep.
func (t *Table) checkRetention(d time.Duration) error {
	switch {
	case d < 0 || d%time.Second != 0:
		return fmt.Errorf("a retention of %s: give whole seconds, or 0 for unlimited", d)
	case !t.Windowed() && d > 0:
		return errors.New("retention needs time windows, which are chosen when a table is made; expire single rows with a TTL")
	case d > 0 && d < t.Window.Duration():
		return fmt.Errorf("a retention of %s: rows leave by windows of %s: give that or more, or 0 for unlimited", d, t.Window)
	case d > 0 && d/t.Window.Duration() >= WindowsMax:
		return fmt.Errorf("a retention of %s spans more than %d windows of %s: shorten it, or 0 for unlimited", d, WindowsMax, t.Window)
	}
	return nil
}

// RetiredAt returns the floor that the table's retention asks for at a time: the
// first window whose end and retention together have not passed. It is never
// below the table's floor, so raising a retention brings nothing back.
func (t *Table) RetiredAt(now time.Time) uint32 {
	if !t.Windowed() || t.Retention <= 0 {
		return t.Floor
	}
	shape := record.Shape{Window: t.Window.Duration()}
	window, err := shape.WindowAt(now.Add(-t.Retention.Duration()))
	if err != nil {
		return t.Floor // before 1970: nothing is that old
	}
	return max(t.Floor, window)
}

// WithRetention returns the schema with a table's retention changed; 0 keeps
// rows for ever. Floors stay where they are.
func (s Schema) WithRetention(keyspace, table string, d time.Duration) (Schema, error) {
	next := s.Clone()
	t := next.TableNamed(keyspace, table)
	if t == nil {
		return s, &NotFoundError{Table: keyspace + "." + table}
	}
	if err := t.checkRetention(d); err != nil {
		return s, fmt.Errorf("schema: table %s: %w", t.FullName(), err)
	}
	t.Retention = Seconds(d)
	return next, nil
}

// Settings are what may be changed of a table at any time; nil leaves a setting
// as it is.
type Settings struct {
	Retention  *time.Duration // 0: rows are kept for ever
	Sloppy     *bool
	ReadRepair *Repair
}

// WithSettings returns the schema with settings of a table changed, and whether
// anything is different.
func (s Schema) WithSettings(keyspace, table string, change Settings) (next Schema, changed bool, err error) {
	next = s.Clone()
	t := next.TableNamed(keyspace, table)
	if t == nil {
		return s, false, &NotFoundError{Table: keyspace + "." + table}
	}
	before := *t
	if change.Retention != nil {
		if next, err = s.WithRetention(keyspace, table, *change.Retention); err != nil {
			return s, false, err
		}
		t = next.TableNamed(keyspace, table)
	}
	if change.Sloppy != nil {
		t.Sloppy = *change.Sloppy
	}
	if change.ReadRepair != nil {
		t.ReadRepair = *change.ReadRepair
	}
	if err := t.validate(); err != nil {
		return s, false, err
	}
	changed = t.Retention != before.Retention || t.Sloppy != before.Sloppy || t.ReadRepair != before.ReadRepair
	return next, changed, nil
}

// WithFloor returns the schema with a table's floor raised to a window: rows of
// windows below it are gone for good.
func (s Schema) WithFloor(id, window uint32) (Schema, error) {
	next := s.Clone()
	t := next.Table(id)
	switch {
	case t == nil:
		return s, &NotFoundError{Table: fmt.Sprintf("number %d", id)}
	case !t.Windowed():
		return s, fmt.Errorf("schema: table %s has no windows", t.FullName())
	case window < t.Floor:
		return s, fmt.Errorf("schema: table %s: the floor cannot fall from window %d to %d", t.FullName(), t.Floor, window)
	}
	t.Floor = window
	return next, nil
}

// RaiseFloors returns the schema with every floor where its table's retention
// asks for it at a time, and whether any floor rose.
func (s Schema) RaiseFloors(now time.Time) (Schema, bool) {
	next, rose := s.Clone(), false
	for i := range next.Tables {
		t := &next.Tables[i]
		if floor := t.RetiredAt(now); floor > t.Floor {
			t.Floor, rose = floor, true
		}
	}
	return next, rose
}
