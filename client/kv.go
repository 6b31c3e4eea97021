package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Value is the value of a key.
type Value struct {
	Data        []byte
	ContentType string
	Timestamp   int64 // of the write, microseconds
}

func keyPath(bucket, key string) string { return "/v1/kv/" + segment(bucket) + "/" + segment(key) }

// segment escapes a name for a path. Names of dots alone would change the path.
func segment(name string) string {
	if name == "." || name == ".." {
		return strings.ReplaceAll(name, ".", "%2E")
	}
	return url.PathEscape(name)
}

// stamped is a header that fixes a write's timestamp for all its attempts.
func (c *Client) stamped() map[string]string {
	return map[string]string{"Dunlin-Timestamp": strconv.FormatInt(int64(c.timestamp()), 10)}
}

// Put stores a value; ttl 0 keeps it for ever.
func (c *Client) Put(ctx context.Context, bucket, key string, v Value, ttl time.Duration, level string) error {
	query, header := url.Values{}, c.stamped()
	setLevel(query, "w", level)
	if ttl > 0 {
		query.Set("ttl", ttl.String())
	}
	header["Content-Type"] = "application/octet-stream"
	if v.ContentType != "" {
		header["Content-Type"] = v.ContentType
	}
	_, err := c.do(ctx, &request{method: http.MethodPut, path: keyPath(bucket, key), query: query, header: header, body: v.Data})
	return err
}

// Get reads a value; a missing one is a *Problem with status 404.
func (c *Client) Get(ctx context.Context, bucket, key, level string) (Value, error) {
	query := url.Values{}
	setLevel(query, "r", level)
	a, err := c.do(ctx, &request{method: http.MethodGet, path: keyPath(bucket, key), query: query})
	if err != nil {
		return Value{}, err
	}
	v := Value{Data: a.body, ContentType: a.header.Get("Content-Type")}
	v.Timestamp, _ = strconv.ParseInt(a.header.Get("Dunlin-Timestamp"), 10, 64) // 0: the node told none
	return v, nil
}

// Delete deletes a key.
func (c *Client) Delete(ctx context.Context, bucket, key, level string) error {
	query := url.Values{}
	setLevel(query, "w", level)
	_, err := c.do(ctx, &request{method: http.MethodDelete, path: keyPath(bucket, key), query: query, header: c.stamped()})
	return err
}
