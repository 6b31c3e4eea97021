package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlindb/dunlin/event"
)

func TestAppendAnswersWithWhatWasStored(t *testing.T) {
	f := start(t, newFakeStore(t), nil)
	r := f.post("s", `{"time":"2026-01-02T03:04:05.1234567Z","type":"t","data":{"b": 1,  "a":[1e3]}}`)
	v := f.want(r, http.StatusCreated)
	if v["time"] != "2026-01-02T03:04:05.1234567Z" || v["acks"] != 2.0 || v["replicas"] != 3.0 {
		t.Errorf("answer %s", r.body)
	}
	id, err := event.ParseID(v["id"].(string))
	if err != nil || !id.Time().Equal(time.Date(2026, 1, 2, 3, 4, 5, 123456700, time.UTC)) {
		t.Errorf("id %v: %v", v["id"], err)
	}
	if r.Header.Get(headerTimestamp) == "" {
		t.Error("the answer does not say the write timestamp, which retries need")
	}
	one := f.do("GET /v1/streams/s/events/"+id.String(), "")
	f.want(one, 200)
	want := fmt.Sprintf(`{"id":"%s","time":"2026-01-02T03:04:05.1234567Z","type":"t","data":{"b": 1,  "a":[1e3]}}`+"\n", id)
	if one.body != want {
		t.Errorf("read back\n%swant\n%s", one.body, want)
	}
}

func TestAbsentTypeReplacesAnEarlierOne(t *testing.T) {
	f := start(t, newFakeStore(t), nil)
	for _, body := range []string{`{"key":"k","time":1000,"type":"old","data":1}`, `{"key":"k","time":1000,"data":2}`} {
		f.want(f.post("s", body), 201)
	}
	if got := f.read("streams/s/events"); !slices.Equal(got, []string{"1970-01-01T00:00:01Z  2"}) {
		t.Errorf("%q", got)
	}
}

func TestIdempotentByIDAndByKey(t *testing.T) {
	f := start(t, newFakeStore(t), nil)
	ids := map[any]bool{}
	for range 3 {
		ids[f.want(f.post("s", `{"key":"order-1","time":"2026-01-01T00:00:00Z","data":1}`), 201)["id"]] = true
	}
	id := event.FirstID(time.UnixMilli(5000))
	for range 3 {
		ids[f.want(f.post("s", `{"id":"`+id.String()+`","data":2}`), 201)["id"]] = true
	}
	if len(ids) != 2 {
		t.Errorf("ids %v", ids)
	}
	if got := f.read("streams/s/events"); len(got) != 2 {
		t.Errorf("%q", got)
	}
}

func TestNamesWithSlashesAndTheirSiblings(t *testing.T) {
	f := start(t, newFakeStore(t), nil)
	for _, name := range []string{"a/b", "..", "a b?#%2F", "ü\x01", "."} {
		escaped := strings.NewReplacer(".", "%2E").Replace(url.PathEscape(name))
		v := f.want(f.post(escaped, `{"data":1}`), 201)
		sibling := "/v1/stream/events?stream=" + url.QueryEscape(name)
		f.want(f.do("POST "+sibling, `{"data":2}`, "Content-Type: application/json"), 201)
		if got := f.read("streams/" + escaped + "/events"); len(got) != 2 {
			t.Errorf("%q: %q", name, got)
		}
		if got := f.read(strings.TrimPrefix(sibling, "/v1/")); len(got) != 2 {
			t.Errorf("%q: %q", name, got)
		}
		one := fmt.Sprintf("/v1/stream/events/%s?stream=%s", v["id"], url.QueryEscape(name))
		f.want(f.do("GET "+one, ""), 200)
		f.want(f.do("DELETE "+one, ""), 200)
		f.want(f.do("GET "+one, ""), 404)
		f.want(f.do("DELETE /v1/stream?stream="+url.QueryEscape(name), ""), 200)
		if got := f.read("streams/" + escaped + "/events"); len(got) != 0 {
			t.Errorf("%q after the delete: %q", name, got)
		}
	}
	if got := f.want(f.do("GET /v1/streams", ""), 200)["streams"].([]any); len(got) != 0 {
		t.Errorf("deleted streams are listed: %v", got)
	}
}

// load stores an event each second from 1000 to 1000+n-1 s of the epoch, whose
// data is its number.
func (f *front) load(stream string, n int) {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"time":%d,"data":%d}`+"\n", (1000+i)*1000, i)
	}
	r := f.do("POST /v1/stream/events?stream="+url.QueryEscape(stream), b.String(), "Content-Type: application/x-ndjson")
	f.want(r, 200)
}

func numbers(lines []string) string {
	var out []string
	for _, l := range lines {
		out = append(out, l[strings.LastIndex(l, " ")+1:])
	}
	return strings.Join(out, ",")
}

func TestBoundsOrderAndLimit(t *testing.T) {
	f := start(t, newFakeStore(t), nil)
	f.load("s", 10)
	var ids []string
	var page struct{ Events []struct{ ID string } }
	if err := json.Unmarshal([]byte(f.do("GET /v1/streams/s/events", "").body), &page); err != nil {
		t.Fatal(err)
	}
	for _, e := range page.Events {
		ids = append(ids, e.ID)
	}
	for _, c := range []struct{ query, want string }{
		{"", "0,1,2,3,4,5,6,7,8,9"},
		{"?order=desc", "9,8,7,6,5,4,3,2,1,0"},
		{"?limit=3", "0,1,2"},
		{"?limit=3&order=desc", "9,8,7"},
		{"?from=1003000", "3,4,5,6,7,8,9"},
		{"?to=1003000", "0,1,2"},
		{"?from=1970-01-01T00:16:43Z&to=1970-01-01T00:16:45Z", "3,4"},
		{"?from=1003000&to=1003000", ""},
		{"?from=1005000&to=1003000", ""},
		{"?after=" + ids[7], "8,9"},
		{"?after=" + ids[7] + "&order=desc", "9,8"},
		{"?after=" + ids[3] + "&from=1006000", "6,7,8,9"},
		{"?after=" + ids[6] + "&from=1003000&to=1009000", "7,8"},
		{"?after=" + ids[9], ""},
	} {
		if got := numbers(f.read("streams/s/events" + c.query)); got != c.want {
			t.Errorf("%s: %s, want %s", c.query, got, c.want)
		}
	}
}

func TestPagesByCursor(t *testing.T) {
	f := start(t, newFakeStore(t), nil)
	f.load("s", 25)
	for _, query := range []string{"limit=10", "limit=10&order=desc", "limit=4&from=1003000&to=1020000", "limit=1&order=desc&from=1020000", "limit=5&after=" + event.FirstID(time.Unix(1003, 0)).String()} {
		whole := numbers(f.read("streams/s/events?" + dropLimit(query)))
		var got []string
		cursor := ""
		for {
			r := f.do("GET /v1/streams/s/events?"+query+cursor, "")
			v := f.want(r, 200)
			for _, e := range v["events"].([]any) {
				got = append(got, fmt.Sprint(e.(map[string]any)["data"]))
			}
			if v["next"] == nil {
				break
			}
			cursor = "&cursor=" + v["next"].(string)
		}
		if strings.Join(got, ",") != whole {
			t.Errorf("%s: pages %v, at once %s", query, got, whole)
		}
	}
	r := f.do("GET /v1/streams/s/events?limit=5", "", "Accept: application/x-ndjson")
	if next := r.Header.Get(headerNext); next == "" || numbers(f.read("streams/s/events?limit=2&cursor="+next)) != "5,6" {
		t.Errorf("NDJSON pages: next %q", next)
	}
}

func dropLimit(query string) string {
	parts := strings.Split(query, "&")
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return strings.HasPrefix(p, "limit=") }), "&")
}

func TestPageEndsAtFourMebibytes(t *testing.T) {
	f := start(t, newFakeStore(t), nil)
	data := strings.Repeat("x", 900<<10)
	for i := range 7 {
		f.want(f.post("s", fmt.Sprintf(`{"time":%d,"data":"%s"}`, i, data)), 201)
	}
	v := f.want(f.do("GET /v1/streams/s/events", ""), 200)
	if n := len(v["events"].([]any)); n != 5 || v["next"] == nil {
		t.Errorf("%d events, next %v", n, v["next"])
	}
	v = f.want(f.do("GET /v1/streams/s/events?cursor="+v["next"].(string), ""), 200)
	if n := len(v["events"].([]any)); n != 2 || v["next"] != nil {
		t.Errorf("%d events, next %v", n, v["next"])
	}
}

func TestAStreamDeletedAndLoadedAgainShowsAll(t *testing.T) {
	f := start(t, newFakeStore(t), nil)
	f.load("s", 10)
	f.want(f.do("DELETE /v1/streams/s", ""), 200)
	if got := f.read("streams/s/events"); len(got) != 0 {
		t.Fatalf("after the delete: %q", got)
	}
	f.load("s", 10)
	if got := numbers(f.read("streams/s/events")); got != "0,1,2,3,4,5,6,7,8,9" {
		t.Errorf("loaded again: %s", got)
	}
	f.want(f.do("DELETE /v1/streams/s?before=1004000", ""), 200)
	if got := numbers(f.read("streams/s/events")); got != "4,5,6,7,8,9" {
		t.Errorf("after deleting the past: %s", got)
	}
	f.load("s", 2)
	if got := numbers(f.read("streams/s/events")); got != "0,1,4,5,6,7,8,9" {
		t.Errorf("the past loaded again: %s", got)
	}
}

func TestStreamsArePagedInTokenOrder(t *testing.T) {
	f := start(t, newFakeStore(t), nil)
	for i := range 12 {
		f.load(fmt.Sprint("stream/", i), 1)
	}
	var paged []any
	cursor := ""
	for {
		v := f.want(f.do("GET /v1/streams?limit=5"+cursor, ""), 200)
		paged = append(paged, v["streams"].([]any)...)
		if v["next"] == nil {
			break
		}
		cursor = "&cursor=" + v["next"].(string)
	}
	whole := f.want(f.do("GET /v1/streams", ""), 200)["streams"].([]any)
	if len(whole) != 12 || fmt.Sprint(paged) != fmt.Sprint(whole) {
		t.Errorf("pages %v, at once %v", paged, whole)
	}
}

func TestReceipts(t *testing.T) {
	f := start(t, newFakeStore(t), nil)
	v := f.want(f.do("POST /v1/streams/s/events?receipt=1", `{"data":1}`, "Content-Type: application/json"), 201)
	receipt := v["receipt"].(map[string]any)
	if receipt["catalog_version"] != 3.0 || len(receipt["replicas"].([]any)) != 1 {
		t.Errorf("%v", receipt)
	}
	if v := f.want(f.do("GET /v1/streams/s/events?receipt=1", ""), 200); v["receipt"] == nil {
		t.Errorf("%v", v)
	}
	if r := f.do(fmt.Sprintf("GET /v1/streams/s/events/%s?receipt=1", v["id"]), ""); r.Header.Get(headerReceipt) == "" {
		t.Error("no receipt for one event")
	}
	r := f.do("POST /v1/streams/s/events?receipt=1", `{"data":1}`, "Content-Type: application/x-ndjson", "Accept: application/x-ndjson")
	if !strings.Contains(r.body, `"receipt":{"catalog_version":3`) {
		t.Errorf("%s", r.body)
	}
}

func TestClockHeaders(t *testing.T) {
	store := newFakeStore(t)
	f := start(t, store, nil)
	ahead := store.Clock() + 2_000_000
	r := f.do("POST /v1/streams/s/events", `{"data":1}`, "Content-Type: application/json", fmt.Sprintf("Dunlin-Clock: %d", ahead))
	f.want(r, 201)
	if got := r.Header.Get(headerTimestamp); got != fmt.Sprint(int64(ahead)+1) {
		t.Errorf("stamped %s after the session %d", got, ahead)
	}
	if got := r.Header.Get(headerClock); got < fmt.Sprint(int64(ahead)+1) {
		t.Errorf("clock %s after the session %d", got, ahead)
	}
	r = f.do("PUT /v1/kv/b/k", `v`, "Dunlin-Timestamp: 12345")
	f.want(r, 200)
	if got := f.do("GET /v1/kv/b/k", "").Header.Get(headerTimestamp); got != "12345" {
		t.Errorf("timestamp %s", got)
	}
}
