package moves

import (
	"slices"
	"strings"
	"testing"

	"github.com/dunlindb/dunlin/admin"
)

var members = []admin.Member{
	{ID: "0f125b0b-9d1e-4000-8000-000000000001"},
	{ID: "0f12ffff-9d1e-4000-8000-000000000002"},
	{ID: "461eee54-9d1e-4000-8000-000000000003"},
}

var removed = []admin.Removed{{ID: "46abcdef-9d1e-4000-8000-000000000004"}, {ID: "7abcdef0-9d1e-4000-8000-000000000005"}, {ID: "7abcdeff-9d1e-4000-8000-000000000006"}}

var known = admin.Status{Members: members, Removed: removed}

func TestResolve(t *testing.T) {
	for _, c := range []struct{ given, want, refusal string }{
		{"461eee54", members[2].ID, ""},
		{"461", members[2].ID, ""},
		{" 461EEE54 ", members[2].ID, ""},
		{"0f125", members[0].ID, ""},
		{members[1].ID, members[1].ID, ""},
		{"77777777-9d1e-4000-8000-000000000009", "77777777-9d1e-4000-8000-000000000009", ""}, // the node knows whether it was one
		{"46a", removed[0].ID, ""},
		{"46", "", `"46" may be ` + members[2].ID + " or " + removed[0].ID}, // the command may be repeated
		{"7a", "", `"7a" may be ` + removed[1].ID + " or " + removed[2].ID},
		{"0f12", "", `"0f12" may be ` + members[0].ID + " or " + members[1].ID + ": give more of the id"},
		{"x", "", `no member's id begins with "x"; the members are 0f125b0b, 0f12ffff, 461eee54`},
		{"", "", "no member's id begins with"},
	} {
		got, err := Resolve(known, c.given)
		if got != c.want || (err == nil) != (c.refusal == "") || err != nil && !strings.Contains(err.Error(), c.refusal) {
			t.Errorf("%q: %q %v", c.given, got, err)
		}
	}
}

func TestResolveAll(t *testing.T) {
	got, err := ResolveAll(known, []string{"461", "0f125"})
	if err != nil || !slices.Equal(got, []string{members[2].ID, members[0].ID}) {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range [][]string{{"461", "461e"}, {"461", "x"}, {"0f12"}} {
		if got, err := ResolveAll(known, bad); err == nil {
			t.Errorf("%v: %v", bad, got)
		}
	}
}
