package httpapi

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestValues(t *testing.T) {
	store := newFakeStore(t)
	f := start(t, store, nil)
	f.want(f.do("GET /v1/kv/b/k", ""), 404)
	v := f.want(f.do("PUT /v1/kv/b/k", "hello\x00\xff", "Content-Type: image/png"), 200)
	if v["acks"] != 2.0 || v["timestamp"] == nil {
		t.Errorf("%v", v)
	}
	r := f.do("GET /v1/kv/b/k", "")
	f.want(r, 200)
	if r.body != "hello\x00\xff" || r.Header.Get("Content-Type") != "image/png" || r.Header.Get(headerTimestamp) == "" {
		t.Errorf("%q %v", r.body, r.Header)
	}
	tag := r.Header.Get("ETag")
	f.want(f.do("GET /v1/kv/b/k", "", "If-None-Match: "+tag), http.StatusNotModified)
	if head := f.do("HEAD /v1/kv/b/k", ""); head.StatusCode != 200 || head.ContentLength != 7 || head.body != "" {
		t.Errorf("HEAD: %v %q", head.Response, head.body)
	}
	f.want(f.do("PUT /v1/kv/b/k", "two"), 200)
	r = f.do("GET /v1/kv/b/k", "", "If-None-Match: "+tag)
	f.want(r, 200)
	if r.body != "two" || r.Header.Get("Content-Type") != typeBytes || r.Header.Get("ETag") == tag {
		t.Errorf("overwritten without a type: %q %v", r.body, r.Header)
	}
	f.want(f.do("GET /v1/kv/b/other", ""), 404)
	f.want(f.do("GET /v1/kv/b%2Fk/k", ""), 404)
	f.want(f.do("DELETE /v1/kv/b/k", ""), 200)
	f.want(f.do("GET /v1/kv/b/k", ""), 404)
	f.want(f.do("PUT /v1/kv/b/k", ""), 200)
	if r := f.do("GET /v1/kv/b/k", ""); r.StatusCode != 200 || r.body != "" {
		t.Errorf("an empty value: %d %q", r.StatusCode, r.body)
	}
}

func TestValuesExpire(t *testing.T) {
	store := newFakeStore(t)
	f := start(t, store, nil)
	f.want(f.do("PUT /v1/kv/b/k?ttl=1h", "v"), 200)
	f.want(f.do("GET /v1/kv/b/k", ""), 200)
	store.mu.Lock()
	store.now = func() time.Time { return time.Now().Add(time.Hour + time.Second) }
	store.mu.Unlock()
	f.want(f.do("GET /v1/kv/b/k", ""), 404)
}

func TestAStoredPageCannotActForTheNode(t *testing.T) {
	f := start(t, newFakeStore(t), nil)
	f.want(f.do("PUT /v1/kv/b/page", "<script>", "Content-Type: text/html"), 200)
	h := f.do("GET /v1/kv/b/page", "").Header
	if h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("%v", h)
	}
}
