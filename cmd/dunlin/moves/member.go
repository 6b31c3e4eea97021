package moves

import (
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/cmd/dunlin/text"
)

// Resolve finds the node, a member or one of old, whose id begins with the given text: a
// command that is repeated when it is done means the same node, and no other. A whole
// id is returned even if it is nobody's: the node knows what became of it.
func Resolve(s admin.Status, id string) (string, error) {
	id = strings.ToLower(strings.TrimSpace(id))
	if _, err := uuid.Parse(id); err == nil && len(id) == 36 {
		return id, nil
	}
	var ids, members, found []string
	for _, m := range s.Members {
		ids, members = append(ids, m.ID), append(members, text.Short(m.ID))
	}
	for _, r := range s.Removed {
		ids = append(ids, r.ID)
	}
	for _, whole := range ids {
		if id != "" && strings.HasPrefix(strings.ToLower(whole), id) {
			found = append(found, whole)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", fmt.Errorf("%q may be %s: give more of the id", id, strings.Join(found, " or "))
	}
	return "", fmt.Errorf("no member's id begins with %q; the members are %s", id, strings.Join(members, ", "))
}

// ResolveAll resolves each of some ids. None may be given twice.
func ResolveAll(s admin.Status, ids []string) ([]string, error) {
	var all []string
	seen := map[string]bool{}
	for _, id := range ids {
		found, err := Resolve(s, id)
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
