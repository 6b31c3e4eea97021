package event

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func genTime(t *rapid.T, label string) time.Time {
	ticks := rapid.Int64Range(0, MaxTime.Unix()*1e7-1).Draw(t, label)
	return time.Unix(ticks/1e7, ticks%1e7*100).UTC()
}

// TestIDsKeepTimeAndOrder: an id gives its time back exactly, and ids of equal
// times sort as their counters did, under Cassandra's comparison.
func TestIDsKeepTimeAndOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := genTime(t, "time")
		a, b := rapid.Uint32().Draw(t, "a"), rapid.Uint32().Draw(t, "b")
		if rapid.Bool().Draw(t, "neighbours") {
			b = a + 1
		}
		low := rapid.Uint32().Draw(t, "incarnation")
		x, y := LineID(at, a, low), LineID(at, b, rapid.Uint32().Draw(t, "other"))
		if !x.Time().Equal(at) {
			t.Fatalf("%s came back as %s", at, x.Time())
		}
		if a != b && (x.Compare(y) < 0) != (a < b) {
			t.Fatalf("counters %d and %d: ids %s and %s", a, b, x, y)
		}
		later := LineID(at.Add(100*time.Nanosecond), 0, 0)
		if at.Add(100*time.Nanosecond).Before(MaxTime) && later.Compare(x) <= 0 {
			t.Fatalf("%s is later than %s but sorts before it", later, x)
		}
		if first := FirstID(at); first.Compare(x) > 0 || !first.Time().Equal(at) {
			t.Fatalf("FirstID %s is after %s", first, x)
		}
		back, err := ParseID(x.String())
		if err != nil || back != x || string(x.AppendText(nil)) != x.String() {
			t.Fatalf("%s came back as %s (%v)", x, back, err)
		}
	})
}

func TestIDsAreUniqueAndInOrder(t *testing.T) {
	ids := NewIDs(12345)
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)
	last := ids.Next(at)
	for range 100_000 {
		id := ids.Next(at)
		if id.Compare(last) <= 0 {
			t.Fatalf("%s follows %s", id, last)
		}
		last = id
	}
}

func TestKeyIDDependsOnTimeAndKeyAlone(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if first, second := KeyID(at, []byte("a")), KeyID(at, []byte("a")); first != second {
		t.Errorf("two ids of one key: %s and %s", first, second)
	}
	if KeyID(at, []byte("a")) == KeyID(at, []byte("b")) || KeyID(at, []byte("a")) == KeyID(at.Add(100), []byte("a")) {
		t.Error("one id of two keys or times")
	}
}

func TestParseIDRefuses(t *testing.T) {
	for _, s := range []string{
		"", "x", "2a92d750-d8dc-11e6-a2de-cf8ecd4cf05", "cc520882-9507-44fb-8fc9-b349ecdee658",
		"{2a92d750-d8dc-11e6-a2de-cf8ecd4cf053", "00000000-0000-1000-8000-000000000000",
	} {
		if id, err := ParseID(s); err == nil {
			t.Errorf("%q gave %s", s, id)
		}
	}
}

func TestTimes(t *testing.T) {
	for in, want := range map[string]string{
		"2026-01-02T03:04:05Z":              "2026-01-02T03:04:05Z",
		"2026-01-02T03:04:05.100Z":          "2026-01-02T03:04:05.1Z",
		"2026-01-02T05:04:05.1234567+02:00": "2026-01-02T03:04:05.1234567Z",
		"2026-01-02T03:04:05.123456789Z":    "2026-01-02T03:04:05.1234567Z",
		"0":                                 "1970-01-01T00:00:00Z",
		"1767323045001":                     "2026-01-02T03:04:05.001Z",
	} {
		got, err := ParseTime(in)
		if err != nil || string(AppendTime(nil, got)) != want {
			t.Errorf("%s: %s (%v), want %s", in, AppendTime(nil, got), err, want)
		}
	}
	for _, in := range []string{"", "yesterday", "-1", "2026-01-02", "1969-12-31T23:59:59Z", "2200-01-01T00:00:00Z", "99999999999999999999"} {
		if _, err := ParseTime(in); err == nil {
			t.Errorf("%q was accepted", in)
		}
	}
}

func TestScan(t *testing.T) {
	var ev Event
	line := []byte(` {"stream":"a\/b\u00e9\ud83d\ude00", "time":"2026-01-02T03:04:05.5Z","type":"t\n","key":"k","data": {"x": [1, 2.50e+1, "\u0000"]} } `)
	if err := Scan(line, &ev); err != nil {
		t.Fatal(err)
	}
	if string(ev.Stream) != "a/bé😀" || string(ev.Type) != "t\n" || string(ev.Key) != "k" || string(ev.Data) != `{"x": [1, 2.50e+1, "\u0000"]}` || !ev.HasTime || ev.HasID {
		t.Errorf("%+v data %s", ev, ev.Data)
	}
	if err := Scan([]byte(`{"time":1767323045001,"data":null}`), &ev); err != nil || ev.Time.UnixMilli() != 1767323045001 || string(ev.Data) != "null" {
		t.Errorf("%+v %v", ev, err)
	}
	for text, want := range map[string]string{
		``:                        "object",
		`[1]`:                     "object",
		`{"a":1}`:                 "a is no field",
		`{"type":"a","type":"b"}`: "type is given twice",
		`{"data":1,"data":1}`:     "data is given twice",
		`{"type":1}`:              "type must be a string",
		`{"id":"x"}`:              "id is no timeuuid",
		`{"time":"noon"}`:         "time is no time",
		`{"time":1.5}`:            "time is no time",
		`{"data":1}{"data":2}`:    "one event a line",
		`{"data":}`:               "byte 8",
		`{"data":01}`:             "byte 9",
		`{"data":"a`:              "ends too early",
		"{\"type\":\"\xff\"}":     "UTF-8",
		`{"type":"\ud800"}`:       "surrogate",
		"{\"data\":\"\x01\"}":     "byte 9",
		`{"data":1,}`:             "byte 10",
	} {
		var field *FieldError
		if err := Scan([]byte(text), &ev); !errors.As(err, &field) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	if err := Scan([]byte(`{"data":`+deep+`}`), &ev); err == nil {
		t.Error("data nested 100,000 deep was accepted")
	}
}

// FuzzScan: what is accepted is valid JSON and means what encoding/json reads;
// valid JSON in the place of data is accepted.
func FuzzScan(f *testing.F) {
	for _, s := range []string{`{"data":{"a":[true,false,null,-0.1e9,"\u00ff"]}}`, `{"type":"x","key":"\ud83d\ude00","stream":""}`, `{`, `{"time":"2026-01-02T03:04:05Z"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var ev Event
		err := Scan(text, &ev)
		if err == nil {
			if !json.Valid(text) {
				t.Fatalf("accepted %q", text)
			}
			var want struct {
				Type, Key, Stream string
				Data              json.RawMessage
			}
			if err := json.Unmarshal(text, &want); err == nil && (want.Type != string(ev.Type) || want.Key != string(ev.Key) || want.Stream != string(ev.Stream)) {
				t.Fatalf("%q: %q %q %q, encoding/json reads %+v", text, ev.Type, ev.Key, ev.Stream, want)
			}
		}
		wrapped := append(append([]byte(`{"data":`), text...), '}')
		err = Scan(wrapped, &ev)
		if json.Valid(text) && bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) < depthMax && err != nil && !strings.Contains(err.Error(), "UTF-8") {
			t.Fatalf("data %q was refused: %v", text, err)
		}
		if err == nil && json.Valid(text) && !bytes.Equal(bytes.TrimLeft(bytes.TrimSpace(text), " "), ev.Data) {
			t.Fatalf("data %q came out as %q", text, ev.Data)
		}
		out := AppendJSON(nil, text, FirstID(MinTime), text, []byte("1"))
		if bytes.Equal(text, bytes.ToValidUTF8(text, nil)) && !json.Valid(out) {
			t.Fatalf("wrote %q", out)
		}
	})
}

var benchLine = []byte(`{"stream": "openstack/nova-api", "time": "2017-05-16T00:00:00.008Z", "type": "INFO", "data": {"pid": 25746, "logger": "nova.osapi_compute.wsgi.server", "message": "[req-38101a0b-2096-447d-96ea-a692162415ae 113d3a99c3da401fbd62cc2caa5b96d2] 10.11.10.1 GET status: 200 len: 1893 time: 0.2477829"}}`)

func BenchmarkScan(b *testing.B) {
	var ev Event
	b.ReportAllocs()
	b.SetBytes(int64(len(benchLine)))
	for b.Loop() {
		if err := Scan(benchLine, &ev); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNextID(b *testing.B) {
	ids := NewIDs(1)
	at := time.Unix(1_700_000_000, 0)
	b.ReportAllocs()
	for b.Loop() {
		_ = binary.BigEndian.Uint64(idBytes(ids.Next(at)))
	}
}

func idBytes(id ID) []byte { return id[:8] }
