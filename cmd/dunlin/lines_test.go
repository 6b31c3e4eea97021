package main

import (
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/dunlindb/dunlin/client"
	"github.com/dunlindb/dunlin/event"
)

func testClient(t *testing.T) *client.Client {
	t.Helper()
	cfg := client.DefaultConfig()
	cfg.Rand = rand.New(rand.NewPCG(1, 2))
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// drain scans every line that a source gives.
func drain(t *testing.T, next func() ([]byte, error)) []event.Event {
	t.Helper()
	var all []event.Event
	for {
		line, err := next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		var ev event.Event
		if err := event.Scan(line, &ev); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, ev)
	}
}

const twice = `{"stream":"s","time":"2026-01-02T03:04:05Z","data": {"n": 1,"k":"x"}}
{"stream":"s","time":"2026-01-02T03:04:05Z","data": {"n": 1,"k":"x"}}

{"stream":"s","time":"2026-01-02T03:04:05Z","type":"t","data": 2.50}
`

// TestLineKeys: ids repeat from load to load, differ between equal lines, keep the
// lines' order, and leave data as it was.
func TestLineKeys(t *testing.T) {
	c := testClient(t)
	first := drain(t, loadLines(c, strings.NewReader(twice), "line"))
	again := drain(t, loadLines(testClient(t), strings.NewReader(twice), "line"))
	if len(first) != 3 || string(first[0].Data) != `{"n": 1,"k":"x"}` || string(first[2].Data) != "2.50" || string(first[2].Type) != "t" {
		t.Fatalf("%+v", first)
	}
	for i := range first {
		if first[i].ID != again[i].ID {
			t.Errorf("line %d: id %s, then %s", i, first[i].ID, again[i].ID)
		}
		if i > 0 && first[i].ID.Compare(first[i-1].ID) <= 0 {
			t.Errorf("line %d sorts before its predecessor", i)
		}
	}
	fresh := drain(t, loadLines(c, strings.NewReader(twice), ""))
	if fresh[0].ID == fresh[1].ID || !fresh[0].HasID {
		t.Error("without --key every load makes new ids")
	}
}

func TestFieldKeys(t *testing.T) {
	c := testClient(t)
	in := `{"stream":"s","time":"2026-01-02T03:04:05Z","data":{"k":"a\"b"}}` + "\n" + `{"stream":"s","time":"2026-01-02T03:04:05Z","data":{"k":7}}`
	got := drain(t, loadLines(c, strings.NewReader(in), "k"))
	if string(got[0].Key) != `a"b` || string(got[1].Key) != "7" || got[0].HasID {
		t.Errorf("%+v", got)
	}
	for _, bad := range []string{`{"stream":"s","data":{"k":1}}`, `{"stream":"s","time":0,"data":{"x":1}}`, `{"stream":"s","time":0,"data":5}`} {
		if _, err := loadLines(c, strings.NewReader(bad), "k")(); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestAppendFormats(t *testing.T) {
	c := testClient(t)
	for _, tc := range []struct {
		format, in, kind string
		data, typ        string
		events           int
	}{
		{"lines", "plain \"text\"\r\nmore\n", "line", `"plain \"text\""`, "line", 2},
		{"ndjson", `{"data":1}` + "\n" + `{"data":2,"type":"own"}`, "given", "1", "given", 2},
		{"json", "{\n  \"data\": {\n \"a\": [1,\n 2]}\n}\n", "", `{"a":[1,2]}`, "", 1},
		{"ndjson", `{}`, "", "", "", 1},
	} {
		next, err := appendLines(c, strings.NewReader(tc.in), tc.format, tc.kind)
		if err != nil {
			t.Fatal(err)
		}
		got := drain(t, next)
		if len(got) != tc.events || string(got[0].Data) != tc.data || string(got[0].Type) != tc.typ || !got[0].HasID {
			t.Errorf("%s: %+v", tc.format, got)
		}
		if tc.kind == "given" && string(got[1].Type) != "own" {
			t.Errorf("--type replaced the event's own: %s", got[1].Type)
		}
	}
	if _, err := appendLines(c, nil, "xml", ""); err == nil {
		t.Error("format xml was accepted")
	}
}

// TestLinesThatCannotBeReadAreSentAsTheyAre: the node says what is wrong.
func TestLinesThatCannotBeReadAreSentAsTheyAre(t *testing.T) {
	c := testClient(t)
	const bad = `{"data":`
	line, err := loadLines(c, strings.NewReader(bad), "line")()
	if err != nil || string(line) != bad {
		t.Errorf("%s %v", line, err)
	}
}
