package schema

import "fmt"

// CheckChange reports what forbids next to follow s: an id that was given out
// before, or a change of what is written into keys and rows already. Both must be
// valid by themselves.
func (s *Schema) CheckChange(next *Schema) error {
	if next.NextTable < s.NextTable {
		return fmt.Errorf("schema: the next table id cannot fall from %d to %d", s.NextTable, next.NextTable)
	}
	for i := range next.Tables {
		t := &next.Tables[i]
		before := s.Table(t.ID)
		switch {
		case before != nil:
			if err := before.checkChange(t); err != nil {
				return fmt.Errorf("schema: table %s: %w", t.FullName(), err)
			}
		case t.ID < s.NextTable:
			return fmt.Errorf("schema: table %s: id %d was given out before", t.FullName(), t.ID)
		}
	}
	return nil
}

func (t *Table) checkChange(next *Table) error {
	switch {
	case next.FullName() != t.FullName():
		return fmt.Errorf("id %d belongs to %s", t.ID, t.FullName())
	case next.Window != t.Window:
		return fmt.Errorf("windows are %s wide for ever", t.Window)
	case next.Floor < t.Floor:
		return fmt.Errorf("the floor cannot fall from window %d to %d", t.Floor, next.Floor)
	case next.NextColumn < t.NextColumn:
		return fmt.Errorf("the next column id cannot fall from %d to %d", t.NextColumn, next.NextColumn)
	}
	for _, c := range next.Columns {
		before := t.Column(c.ID)
		switch {
		case before == nil && c.ID < t.NextColumn:
			return fmt.Errorf("column %s: id %d was given out before", c.Name, c.ID)
		case before == nil && c.isKey():
			return fmt.Errorf("column %s: the primary key is fixed when a table is made", c.Name)
		case before != nil && !before.keepsMeaning(c):
			return fmt.Errorf("column %s: type, role and order are fixed when a column is made", c.Name)
		}
	}
	for _, c := range t.Columns {
		if c.isKey() && next.Column(c.ID) == nil {
			return fmt.Errorf("column %s: the primary key is fixed when a table is made", c.Name)
		}
	}
	return nil
}

func (c *Column) isKey() bool { return c.Role == Partition || c.Role == Clustering }

// keepsMeaning reports whether values written as c may be read as next; a
// column may be renamed.
func (c *Column) keepsMeaning(next Column) bool {
	next.Name = c.Name
	return *c == next
}
