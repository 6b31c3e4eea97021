package moves

import (
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/cmd/dunlin/text"
)

// Resolve finds the member whose id begins with the given text. A whole id is
// returned even if it is no member's: the node knows what became of it.
func Resolve(members []admin.Member, id string) (string, error) {
	id = strings.ToLower(strings.TrimSpace(id))
	if _, err := uuid.Parse(id); err == nil && len(id) == 36 {
		return id, nil
	}
	var all, found []string
	for _, m := range members {
		all = append(all, text.Short(m.ID))
		if id != "" && strings.HasPrefix(strings.ToLower(m.ID), id) {
			found = append(found, m.ID)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", fmt.Errorf("%q may be %s: give more of the id", id, strings.Join(found, " or "))
	}
	return "", fmt.Errorf("no member's id begins with %q; the members are %s", id, strings.Join(all, ", "))
}

// ResolveAll resolves each of some ids. None may be given twice.
func ResolveAll(members []admin.Member, ids []string) ([]string, error) {
	var all []string
	seen := map[string]bool{}
	for _, id := range ids {
		found, err := Resolve(members, id)
		if err != nil {
			return nil, err
		}
		if seen[found] {
			return nil, fmt.Errorf("%s is given twice", found)
		}
		seen[found] = true
		all = append(all, found)
	}
	return all, nil
}

// Member finds a member by its whole id; nil if it is none.
func Member(members []admin.Member, id string) *admin.Member {
	for i := range members {
		if members[i].ID == id {
			return &members[i]
		}
	}
	return nil
}
