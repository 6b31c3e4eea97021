package moves

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/dunlindb/dunlin/admin"
)

func TestPrintPlan(t *testing.T) {
	for _, c := range []struct {
		plan admin.LayoutPlan
		want string
	}{
		{admin.LayoutPlan{
			Kind: "decommission", Ranges: 768, BytesEstimate: 3 << 29, Warnings: []string{"zone z2 has one node left"},
			Nodes: []admin.NodePlan{
				{ID: "0f125b0b-9d1e", Zone: "z1", ReplicasBefore: 768, ReplicasAfter: 1024, Gains: 256, BytesIn: 1 << 29},
				{ID: "461eee54-0001", Zone: "z2", ReplicasBefore: 768, Loses: 768, Leaves: true},
				{ID: "new 1", Zone: "z3", ReplicasAfter: 5, Gains: 5, New: true},
			},
		}, `decommission: 768 ranges change replicas, about 1.5 GiB are copied

NODE      ZONE  REPLICAS  THEN  GAINS  LOSES  COPIES IN  
0f125b0b  z1    768       1024  +256   0      512.0 MiB  
461eee54  z2    768       0     0      -768   0 B        leaves
new 1     z3    0         5     +5     0      0 B        joins
WARNING: zone z2 has one node left
`},
		{admin.LayoutPlan{Kind: "zone", Done: true, Ranges: 1}, "zone: 1 range change replicas, about 0 B are copied\n"},
	} {
		var out bytes.Buffer
		if err := PrintPlan(&out, c.plan); err != nil || out.String() != c.want {
			t.Errorf("%v\n%s", err, out.String())
		}
	}
}

func streaming() *admin.ChangeProgress {
	return &admin.ChangeProgress{
		ID: 17, Kind: "decommission", Phase: "streaming", Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Driver: "0f125b0b-9d1e",
		Ranges: 200, Done: 40, BytesTotal: 1 << 30, BytesDone: 350 << 20, RowsDone: 81234, BytesPerSecond: 34 << 20, RemainingSeconds: 20.2,
		Nodes:   []admin.NodeProgress{{ID: "600e31f6-77", State: "normal", Ranges: 200, Done: 40, BytesDone: 350 << 20}},
		Waiting: []string{"node 461eee54 is not alive: start it again, or remove it"},
	}
}

func TestPrintProgress(t *testing.T) {
	flipped := streaming()
	flipped.Phase, flipped.Nodes, flipped.Waiting, flipped.Driver, flipped.Done = "flipped", nil, nil, "", 200
	for _, c := range []struct {
		p    *admin.ChangeProgress
		want string
	}{
		{nil, "no change of the layout is on its way\n"},
		{streaming(), `decommission (change 17), streaming: 34%, 350.0 MiB of about 1.0 GiB, 81234 rows, 34.0 MiB/s, 20s left
40 replicas of 200 complete; since 2026-01-02 03:04:05Z; driven by 0f125b0b
WAITING: node 461eee54 is not alive: start it again, or remove it

NODE      STATE   TO FILL  COMPLETE  COPIED
600e31f6  normal  200      40        350.0 MiB
`},
		{flipped, `decommission (change 17), flipped: 100%, 350.0 MiB of about 1.0 GiB, 81234 rows, 34.0 MiB/s, 20s left
200 replicas of 200 complete; since 2026-01-02 03:04:05Z
reads ask the new replicas already: it cannot be aborted any more
`},
	} {
		var out bytes.Buffer
		if err := PrintProgress(&out, c.p); err != nil || out.String() != c.want {
			t.Errorf("%v\n%s", err, out.String())
		}
	}
}

func TestBar(t *testing.T) {
	announced := &admin.ChangeProgress{ID: 1, Kind: "join", Phase: "announced"}
	over := &admin.ChangeProgress{ID: 1, Kind: "join", Phase: "streaming", Ranges: 3, Done: 2, BytesTotal: 10, BytesDone: 12}
	for _, c := range []struct {
		p     *admin.ChangeProgress
		width int
		want  string
	}{
		{streaming(), 120, "decommission streaming [█████████░░░░░░░░░░░░░░░░░░░] 34%  350.0 MiB of about 1.0 GiB  81234 rows  34.0 MiB/s  20s left"},
		{streaming(), 103, "decommission streaming [███░░░░░░░░] 34%  350.0 MiB of about 1.0 GiB  81234 rows  34.0 MiB/s  20s left"},
		{streaming(), 60, "decommission streaming  34%  350.0 MiB of about 1.0 GiB  81"},
		{streaming(), 0, ""},
		{announced, 60, "join announced [░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░] 0%"},
		{&admin.ChangeProgress{Kind: "join", Phase: "streaming", Ranges: 8, Done: 4}, 60, "join streaming [██████████░░░░░░░░░░░] 50%  4 of 8 replicas"},
		{over, 60, "join streaming [█████████████████░] 99%  12 B of about 12 B"},
	} {
		got := Bar(c.p, c.width)
		if got != c.want {
			t.Errorf("%d: %s\nwant %s", c.width, got, c.want)
		}
	}
}

// TestLines: small steps add up, phases and who waits are told at once.
func TestLines(t *testing.T) {
	var out bytes.Buffer
	show := Lines(&out)
	p := admin.ChangeProgress{ID: 4, Kind: "join", Phase: "announced", BytesTotal: 100, Ranges: 10}
	tell := func(change func(*admin.ChangeProgress)) {
		change(&p)
		next := p
		show(&next)
	}
	tell(func(*admin.ChangeProgress) {})
	tell(func(p *admin.ChangeProgress) { p.Phase = "streaming" })
	for n := range uint64(12) {
		tell(func(p *admin.ChangeProgress) { p.BytesDone = n })
	}
	tell(func(p *admin.ChangeProgress) { p.Waiting = []string{"a has 3 of 9 ranges"} })
	tell(func(p *admin.ChangeProgress) { p.Waiting = []string{"a has 10 of 9 ranges"} })
	tell(func(p *admin.ChangeProgress) { p.Waiting = []string{"b is not alive"} })
	tell(func(p *admin.ChangeProgress) { p.Waiting = nil })
	tell(func(p *admin.ChangeProgress) { p.Phase = "flipped" })
	show(nil)
	const want = `join (change 4), announced: 0%, 0 B of about 100 B
join (change 4), streaming: 0%, 0 B of about 100 B
join (change 4), streaming: 5%, 5 B of about 100 B
join (change 4), streaming: 10%, 10 B of about 100 B
WAITING: a has 3 of 9 ranges
WAITING: b is not alive
join (change 4), flipped: 100%, 11 B of about 100 B
`
	if out.String() != want {
		t.Errorf("%s", out.String())
	}
}

func TestBars(t *testing.T) {
	var out bytes.Buffer
	show := Bars(&out, func() int { return 60 })
	p := &admin.ChangeProgress{Kind: "join", Phase: "announced", Waiting: []string{"b is not alive"}}
	show(p)
	show(p)
	show(nil)
	bar := Bar(p, 60)
	if want := clear + "WAITING: b is not alive\n" + bar + clear + bar + clear; out.String() != want {
		t.Errorf("%q", out.String())
	}
	if strings.Contains(bar, "\n") {
		t.Errorf("%q", bar)
	}
}
