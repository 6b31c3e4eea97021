package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Value is the value of a key.
type Value struct {
	Data        []byte
	ContentType string
	Timestamp   int64 // of the write, microseconds
}

func keyPath(bucket, key string) string {
	return "/v1/kv/" + url.PathEscape(bucket) + "/" + url.PathEscape(key)
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
	resp, err := c.do(ctx, &request{method: http.MethodPut, path: keyPath(bucket, key), query: query, header: header, body: v.Data})
	if err != nil {
		return err
	}
	drain(resp)
	return nil
}

// Get reads a value; a missing one is a *Problem with status 404.
func (c *Client) Get(ctx context.Context, bucket, key, level string) (Value, error) {
	query := url.Values{}
	setLevel(query, "r", level)
	resp, err := c.do(ctx, &request{method: http.MethodGet, path: keyPath(bucket, key), query: query})
	if err != nil {
		return Value{}, err
	}
	defer resp.Body.Close()
	v := Value{ContentType: resp.Header.Get("Content-Type")}
	if v.Data, err = io.ReadAll(resp.Body); err != nil {
		return Value{}, fmt.Errorf("client: read the value: %w", err)
	}
	v.Timestamp, _ = strconv.ParseInt(resp.Header.Get("Dunlin-Timestamp"), 10, 64)
	return v, nil
}

// Delete deletes a key.
func (c *Client) Delete(ctx context.Context, bucket, key, level string) error {
	query := url.Values{}
	setLevel(query, "w", level)
	resp, err := c.do(ctx, &request{method: http.MethodDelete, path: keyPath(bucket, key), query: query, header: c.stamped()})
	if err != nil {
		return err
	}
	drain(resp)
	return nil
}
