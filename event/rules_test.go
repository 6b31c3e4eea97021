package event

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// TestRefusalsNameTheField that is to blame.
func TestRefusalsNameTheField(t *testing.T) {
	const id = `"id":"a3c5b800-e787-11f0-8080-808080808080"`
	nested := func(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
	for text, field := range map[string]string{
		`{"data":1,"type":null}`:                     "type",
		`{"data":1,"type":"\ud800"}`:                 "type",
		`{"data":1,"id":null}`:                       "id",
		`{"data":1,"time":null}`:                     "time",
		`{"data":1,"time":"2026-01-02T3:04:05Z"}`:    "time",
		`{"data":1,"time":"2026-01-02T03:04:05,5Z"}`: "time",
		`{"data":1,"time":1e3}`:                      "time",
		`{"data":` + nested(depthMax+2) + `}`:        "data",
		`{"data":1,"\u0064ata":2}`:                   "data",
		`{"data":1,"Data":2}`:                        "Data",
		`{"data":1,` + id + `,` + id + `}`:           "id",
	} {
		var ev Event
		var wrong *FieldError
		if err := Scan([]byte(text), &ev); !errors.As(err, &wrong) || wrong.Field != field {
			t.Errorf("%.120s: %v, want one about %s", text, err, field)
		}
	}
	for _, text := range []string{
		`{}`, `{"data":null}`, `{` + id + `,"data":{}}`, `{"data":[],"key":"k","time":0,"type":""}`,
		`{"data":` + nested(depthMax) + `}`,
	} {
		var ev Event
		if err := Scan([]byte(text), &ev); err != nil {
			t.Errorf("%.120s: %v", text, err)
		}
	}
}

// FuzzScanNamesTheField: a JSON object that is refused is refused for a field,
// never as bad JSON.
func FuzzScanNamesTheField(f *testing.F) {
	f.Add([]byte(`{"data":"\ud800","type":"a long enough text to take the fast way, \\ \" ü"}`))
	f.Add([]byte(`{"data":-0.0E-1 , "x":[{}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var object map[string]json.RawMessage
		if json.Unmarshal(text, &object) != nil || object == nil || !utf8.Valid(text) {
			return
		}
		var ev Event
		var wrong *FieldError
		err := Scan(text, &ev)
		if errors.As(err, &wrong) && wrong.Field == "" && object[""] == nil && !strings.Contains(wrong.Reason, "surrogate") {
			t.Fatalf("%q: %v", text, err)
		}
		if err == nil && string(object["data"]) != string(ev.Data) {
			t.Fatalf("%q: data %q", text, ev.Data)
		}
	})
}

// TestFirstAndLastEncloseEveryID of their time, whoever made it, and no other.
func TestFirstAndLastEncloseEveryID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := genTime(t, "time")
		id := makeID(at, rapid.Uint64().Draw(t, "bits"))
		first, last := FirstID(at), LastID(at)
		if first.Compare(id) > 0 || last.Compare(id) < 0 {
			t.Fatalf("%s is not between %s and %s", id, first, last)
		}
		next := FirstID(at.Add(100 * time.Nanosecond))
		if last.Compare(next) >= 0 || !last.Time().Equal(at) {
			t.Fatalf("%s is the last of %s, %s the first of the next time", last, at, next)
		}
		var back ID
		if text, err := id.MarshalText(); err != nil || back.UnmarshalText(text) != nil || back != id {
			t.Fatalf("%s came back as %s", id, back)
		}
	})
}

// TestCounterWraps: no id is made twice after 2^32 ids.
func TestCounterWraps(t *testing.T) {
	ids := NewIDs(1<<30 - 1)
	at := time.Unix(1_700_000_000, 0)
	first := ids.Next(at)
	ids.counter.Store(1 << 32)
	if again := ids.Next(at); again == first {
		t.Errorf("%s was made twice", again)
	}
}

// TestTimesRoundTrip: a time comes back as the same instant, whatever zone it was
// written in, and in its shortest form.
func TestTimesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := genTime(t, "time")
		zone := time.FixedZone("", 60*rapid.IntRange(-14*60, 14*60).Draw(t, "minutes"))
		local := at.In(zone)
		if local.Year() < 1970 {
			return // a local year 1969 is read too, but says so with another error
		}
		got, err := ParseTime(local.Format(time.RFC3339Nano))
		if err != nil || !got.Equal(at) {
			t.Fatalf("%s came back as %s (%v)", local, got, err)
		}
		text := string(AppendTime(nil, got))
		if !strings.HasSuffix(text, "Z") || strings.HasSuffix(text, "0Z") && strings.Contains(text, ".") {
			t.Fatalf("%s is not the shortest form", text)
		}
	})
}

func TestLinesHoldNoLineBreaks(t *testing.T) {
	id := FirstID(time.Unix(1_700_000_000, 0))
	got := string(AppendLine([]byte("before\n"), []byte("s\n"), id, []byte("t"), []byte("{\"a\":\r\n\"\\n\"}")))
	want := "before\n" + `{"stream":"s\n","id":"` + id.String() + `","time":"2023-11-14T22:13:20Z","type":"t","data":{"a":  "\n"}}` + "\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var ev Event
	if err := Scan([]byte(strings.TrimPrefix(got, "before\n")), &ev); err != nil || ev.ID != id || string(ev.Stream) != "s\n" {
		t.Errorf("%+v %v", ev, err)
	}
}

func TestLineHashIsForEver(t *testing.T) {
	if got := LineHash([]byte("dunlin")); got != 0xe72e6c4a {
		t.Errorf("LineHash changed: %#x", got)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	if got := LineID(at, 7, 0x4ceb0c43).String(); got != "b282c086-e787-11f0-8080-80814ceb0c43" {
		t.Errorf("LineID changed: %s", got)
	}
	if got := KeyID(at, []byte("order-1")).String(); got != "b282c086-e787-11f0-8baf-e22156d2698c" {
		t.Errorf("KeyID changed: %s", got)
	}
}
