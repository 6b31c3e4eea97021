package ring

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/dunlindb/dunlin/token"
)

// quality of one join.
type quality struct {
	worst      float64 // the fullest member's replicas ÷ its share
	moved      float64 // replicas gained ÷ what the joiners' shares need
	collateral float64 // replicas gained by others than joiners ÷ all replicas
	twice      float64 // ranges that gain more than one replica ÷ all
}

func judge(t testing.TB, before, after Layout, p Placement) quality {
	t.Helper()
	rb, err := New(&before, 1, []Placement{p})
	if err != nil {
		t.Fatal(err)
	}
	ra, err := New(&after, 2, []Placement{p})
	if err != nil {
		t.Fatal(err)
	}
	var q quality
	share := shares(after.Members, p)
	need, all := 0.0, 0.0
	for i, s := range share {
		all += s
		if i >= len(before.Members) {
			need += s
		}
	}
	held := make([]float64, len(after.Members))
	for rng := range token.RangeID(token.Ranges) {
		for _, m := range ra.Replicas(0, rng) {
			held[m]++
		}
	}
	for i, h := range held {
		if share[i] > 0 {
			q.worst = math.Max(q.worst, h/share[i])
		} else if h > 0 {
			t.Errorf("member %d holds %v replicas and should hold none", i, h)
		}
	}
	for _, m := range Diff(rb, ra) {
		q.moved += float64(len(m.Gained)) / need
		if len(m.Gained) > 1 {
			q.twice += 1.0 / token.Ranges
		}
		for _, id := range m.Gained {
			if i, _ := ra.Index(id); int(i) < len(before.Members) {
				q.collateral += 1 / all
			}
		}
	}
	return q
}

func TestSurvey(t *testing.T) {
	if os.Getenv("SURVEY") == "" {
		return
	}
	for _, tc := range []struct {
		name string
		zone func(i int) string
		p    Placement
	}{
		{"simple", func(int) string { return "a" }, simple(3)},
		{"zones3", func(i int) string { return string("abc"[i%3]) }, network(3)},
		{"uneven", func(i int) string { return string("aabacaabac"[i%10]) }, network(3)},
		{"two", func(i int) string { return string("ab"[i%2]) }, network(3)},
		{"five", func(i int) string { return string("abcde"[i%5]) }, network(3)},
	} {
		l := Bootstrap(member(0, tc.zone(0)), 1)
		for i := 1; i < 30; i++ {
			at := time.Now()
			next, err := l.Join(uint64(i+1), []Member{member(i, tc.zone(i))}, []Placement{tc.p})
			took := time.Since(at)
			if err != nil {
				t.Fatal(err)
			}
			q := judge(t, l, next, tc.p)
			fmt.Printf("%s %d: worst %.3f moved %.3f collateral %.4f twice %.4f %s\n", tc.name, i+1, q.worst, q.moved, q.collateral, q.twice, took)
			l = next
		}
	}
}

var _ = rand.New
var _ = slices.Sort[[]int]
var _ = datadriven.RunTest
var _ = rapid.Check
