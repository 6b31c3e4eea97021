package page

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/transport"
)

func valueRow(timestamp int64, value string) *record.Row {
	return &record.Row{
		Liveness: record.Liveness{Timestamp: timestamp},
		Cells:    []record.Cell{{Column: 1, Timestamp: timestamp, Value: []byte(value)}},
	}
}

// answer makes a replica's answer of rows with these suffixes.
func answer(more bool, suffixes ...string) *transport.ReadAnswer {
	a := &transport.ReadAnswer{More: more}
	for _, s := range suffixes {
		a.Rows = record.AppendEntry(a.Rows, []byte(s), valueRow(1, s).Append(nil))
	}
	return a
}

// suffixes joins the suffixes of the page's rows.
func suffixes(p *Page) string {
	var all []string
	rows, _ := p.Rows()
	for _, row := range rows {
		all = append(all, string(row.Suffix))
	}
	return strings.Join(all, " ")
}

// TestPageRefusesNonsense: answers that no replica of this version gives.
func TestPageRefusesNonsense(t *testing.T) {
	row := valueRow(1, "v").Append(nil)
	entry := func(suffix string) []byte { return record.AppendEntry(nil, []byte(suffix), row) }
	for name, a := range map[string]transport.ReadAnswer{
		"no entry":           {Rows: []byte{200}},
		"no row":             {Rows: record.AppendEntry(nil, []byte("a"), []byte("nonsense"))},
		"out of order":       {Rows: append(entry("b"), entry("a")...)},
		"twice":              {Rows: append(entry("a"), entry("a")...)},
		"no head":            {Head: []byte("nonsense")},
		"more after nothing": {More: true},
		"poisoned row":       {Rows: record.AppendEntry(nil, []byte("a"), poison(t))},
	} {
		p := New(Config{Need: 1, Sources: 1, MaxRows: 10, MaxBytes: 1000})
		if err := p.Take(0, &a); err == nil {
			t.Errorf("%s is accepted", name)
		}
		if p.Merge(); p.done || len(p.rows) > 0 {
			t.Errorf("%s: the page has used it", name)
		}
	}
}

func poison(t *testing.T) []byte {
	t.Helper()
	var m record.Merger
	m.Reset(record.SpaceRows)
	m.Add([]byte("one"))
	m.Add([]byte("two"))
	b := m.Finish(nil)
	if !record.IsPoison(b) {
		t.Fatal("no poison")
	}
	return b
}

// TestPageHides: rows that are not to be shown count for no limit.
func TestPageHides(t *testing.T) {
	p := New(Config{Need: 1, Sources: 1, MaxRows: 2, MaxBytes: 1000, Hidden: func(suffix []byte) bool { return suffix[0] < 'c' }})
	if err := p.Take(0, answer(false, "a", "b", "c", "d", "e")); err != nil {
		t.Fatal(err)
	}
	p.Merge()
	if _, more := p.Rows(); suffixes(p) != "c d" || !p.Done() || !more {
		t.Errorf("rows %s, done %t, more %t", suffixes(p), p.Done(), more)
	}
}

// TestPageCoverage: rows count only as far as enough sources cover them, whichever
// those are.
func TestPageCoverage(t *testing.T) {
	for _, test := range []struct {
		need    int
		answers []*transport.ReadAnswer
		rows    string
		done    bool
		asks    string // the sources that are asked on
	}{
		{1, []*transport.ReadAnswer{answer(true, "a", "b")}, "a b", false, "012"},
		{2, []*transport.ReadAnswer{answer(true, "a", "b")}, "", false, "12"},
		{2, []*transport.ReadAnswer{answer(true, "a", "b"), answer(true, "a", "c")}, "a b", false, "02"},
		{2, []*transport.ReadAnswer{answer(true, "b"), answer(true, "d"), answer(true, "c")}, "b c", false, "02"},
		{3, []*transport.ReadAnswer{answer(true, "b"), answer(true, "d"), answer(true, "c")}, "b", false, "0"},
		{3, []*transport.ReadAnswer{answer(true, "b"), answer(false), answer(false, "c")}, "b", false, "0"},
		{2, []*transport.ReadAnswer{answer(true, "b"), answer(false), answer(false, "c")}, "b c", true, ""},
	} {
		p := New(Config{Need: test.need, Sources: 3, MaxRows: 10, MaxBytes: 1000})
		for i, a := range test.answers {
			if err := p.Take(i, a); err != nil {
				t.Fatal(err)
			}
		}
		p.Merge()
		asks := ""
		for i := range 3 {
			if _, _, yes := p.Ask(i, 100); yes {
				asks += fmt.Sprint(i)
			}
		}
		if got := suffixes(p); got != test.rows || p.Done() != test.done || asks != test.asks {
			t.Errorf("need %d of %d answers: rows %q, done %t, asks %q; want %q, %t, %q",
				test.need, len(test.answers), got, p.Done(), asks, test.rows, test.done, test.asks)
		}
	}
}

// TestPageAsksForMore: each time a source is asked on, for more rows than before.
func TestPageAsksForMore(t *testing.T) {
	p := New(Config{Need: 1, Sources: 1, MaxRows: 10, MaxBytes: 1000})
	var asked []int
	for i := range 5 {
		after, rows, yes := p.Ask(0, 50)
		if !yes || (after == nil) != (i == 0) {
			t.Fatalf("question %d: after %q, %t", i, after, yes)
		}
		asked = append(asked, rows)
		dead := record.Row{Deletion: record.Deletion{Timestamp: 5, Seconds: 1}}
		a := &transport.ReadAnswer{More: true, Rows: record.AppendEntry(nil, []byte{byte(i)}, dead.Append(nil))}
		if err := p.Take(0, a); err != nil {
			t.Fatal(err)
		}
		p.Merge()
	}
	if got := fmt.Sprint(asked); got != "[10 20 40 50 50]" {
		t.Errorf("asked for %s rows", got)
	}
}

// TestPageOfNothing: the empty answer is an answer.
func TestPageOfNothing(t *testing.T) {
	p := New(Config{Need: 2, Sources: 3, MaxRows: 1, MaxBytes: 1})
	for i := range 2 {
		if p.Merge(); p.done {
			t.Fatalf("done after %d answers", i)
		}
		if err := p.Take(i, &transport.ReadAnswer{}); err != nil {
			t.Fatal(err)
		}
	}
	if p.Merge(); !p.done || p.more {
		t.Fatalf("done %t, more %t", p.done, p.more)
	}
}

// TestPageLateAnswer: an answer to an earlier question arrives when the page is
// past its beginning; what is merged already is not merged again.
func TestPageLateAnswer(t *testing.T) {
	p := New(Config{Need: 1, Sources: 2, MaxRows: 10, MaxBytes: 1000})
	steps := []struct {
		source int
		answer *transport.ReadAnswer
		rows   string
		done   bool
	}{
		{0, answer(true, "a", "b"), "a b", false},
		{1, answer(true, "a"), "a b", false},             // ends before the position
		{1, answer(true, "a", "b", "c"), "a b c", false}, // overlaps it
		{0, answer(false, "b", "d"), "a b c d", true},
	}
	for i, step := range steps {
		if err := p.Take(step.source, step.answer); err != nil {
			t.Fatal(err)
		}
		p.Merge()
		if got := suffixes(p); got != step.rows || p.done != step.done {
			t.Fatalf("after answer %d: rows %s, done %t; want %s, %t", i, got, p.done, step.rows, step.done)
		}
	}
}

// FuzzPage: whatever replicas answer, a page ends, in order, without repeating a row.
func FuzzPage(f *testing.F) {
	rows := answer(false, "a", "b").Rows
	head := record.Head{Deletion: record.Deletion{Timestamp: 5, Seconds: 1}}
	f.Add(rows, []byte(nil), rows[:5], head.Append(nil), true, false)
	f.Add(rows, head.Append(nil), answer(true, "b", "c").Rows, []byte(nil), false, true)
	f.Fuzz(func(t *testing.T, rows1, head1, rows2, head2 []byte, more, reverse bool) {
		p := New(Config{Need: 2, Sources: 2, Reverse: reverse, MaxRows: 3, MaxBytes: 100})
		answers := []*transport.ReadAnswer{{Rows: rows1, Head: head1, More: more}, {Rows: rows2, Head: head2}}
		taken := 0
		for i, a := range answers {
			if p.Take(i, a) == nil {
				taken++
			}
		}
		p.Merge()
		all, _ := p.Rows()
		for i := 1; i < len(all); i++ {
			if p.compare(all[i-1].Suffix, all[i].Suffix) >= 0 {
				t.Fatalf("row %q after row %q", all[i].Suffix, all[i-1].Suffix)
			}
		}
		if len(all) > 3 || taken < 2 && len(all) > 0 || taken == 2 && !more && !p.Done() {
			t.Fatalf("%d rows of %d answers, done %t", len(all), taken, p.Done())
		}
	})
}
