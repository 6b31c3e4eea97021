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

func TestResolve(t *testing.T) {
	for _, c := range []struct{ given, want, refusal string }{
		{"461eee54", members[2].ID, ""},
		{"4", members[2].ID, ""},
		{" 461EEE54 ", members[2].ID, ""},
		{"0f125", members[0].ID, ""},
		{members[1].ID, members[1].ID, ""},
		{"77777777-9d1e-4000-8000-000000000009", "77777777-9d1e-4000-8000-000000000009", ""}, // the node knows whether it was one
		{"0f12", "", `"0f12" may be ` + members[0].ID + " or " + members[1].ID + ": give more of the id"},
		{"x", "", `no member's id begins with "x"; the members are 0f125b0b, 0f12ffff, 461eee54`},
		{"", "", "no member's id begins with"},
	} {
		got, err := Resolve(members, c.given)
		if got != c.want || (err == nil) != (c.refusal == "") || err != nil && !strings.Contains(err.Error(), c.refusal) {
			t.Errorf("%q: %q %v", c.given, got, err)
		}
	}
}

func TestResolveAll(t *testing.T) {
	got, err := ResolveAll(members, []string{"46", "0f125"})
	if err != nil || !slices.Equal(got, []string{members[2].ID, members[0].ID}) {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range [][]string{{"46", "461e"}, {"46", "x"}, {"0f12"}} {
		if got, err := ResolveAll(members, bad); err == nil {
			t.Errorf("%v: %v", bad, got)
		}
	}
}
