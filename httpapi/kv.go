package httpapi

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/dunlindb/dunlin/coordinator"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/httpapi/problem"
	"github.com/dunlindb/dunlin/httpapi/rows"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// ttlMax is the longest time to live, as in Cassandra: 20 years.
const ttlMax = 20 * 365 * 24 * time.Hour

// contentTypeMax bounds the Content-Type that is kept with a value.
const contentTypeMax = 256

// typeBytes is the Content-Type of values that were stored without one.
const typeBytes = "application/octet-stream"

// valueKey is the partition key of a bucket and key.
func (a *API) valueKey(r *http.Request) ([]byte, error) {
	bucket, key := []byte(r.PathValue("bucket")), []byte(r.PathValue("key"))
	if err := a.limits.CheckName("bucket", bucket); err != nil {
		return nil, err
	}
	if err := a.limits.CheckName("key", key); err != nil {
		return nil, err
	}
	return record.AppendCompositeKey(nil, bucket, key), nil
}

// refuseConditions: a condition that is not honoured must not be ignored.
func refuseConditions(h http.Header) error {
	for _, name := range []string{"If-Match", "If-None-Match", "If-Unmodified-Since", "If-Modified-Since"} {
		if h.Get(name) != "" {
			return &problem.NotImplementedError{Detail: name + " is not supported on writes: there are no conditional writes yet"}
		}
	}
	return nil
}

// putValue stores a value with its Content-Type.
func (a *API) putValue(w *answer, r *http.Request) error {
	q, err := a.request(r, "w", "sloppy", "ttl", "receipt")
	if err != nil {
		return err
	}
	opts, err := q.writeOptions(r.Header)
	if err != nil {
		return err
	}
	if err := refuseConditions(r.Header); err != nil {
		return err
	}
	ttl, err := q.duration("ttl", ttlMax)
	if err != nil {
		return err
	}
	media := r.Header.Get("Content-Type")
	if len(media) > contentTypeMax {
		return &problem.TooLargeError{Field: "Content-Type", Limit: contentTypeMax}
	}
	if _, _, err := mime.ParseMediaType(media); media != "" && err != nil {
		return problem.BadInput("Content-Type", "is "+problem.Quoted(media)+": "+err.Error())
	}
	partition, err := a.valueKey(r)
	if err != nil {
		return err
	}
	body, err := a.readBody(w, r, "value", a.cfg.ValueBytes)
	if err != nil {
		return err
	}
	return a.writeValue(w, r, opts, partition, func(wr rows.Write) record.Row {
		timestamp, born := wr.Stamp()
		ttl, at := expiry(born, ttl)
		ts := int64(timestamp)
		return record.Row{Liveness: record.Liveness{Timestamp: ts, TTL: ttl, Expiry: at}, Cells: []record.Cell{
			{Column: schema.KVValue, Timestamp: ts, TTL: ttl, Expiry: at, Value: body},
			{Column: schema.KVContentType, Timestamp: ts, TTL: ttl, Expiry: at, Value: []byte(media)},
		}}
	})
}

// deleteValue deletes a key.
func (a *API) deleteValue(w *answer, r *http.Request) error {
	q, err := a.request(r, "w", "sloppy", "receipt")
	if err != nil {
		return err
	}
	opts, err := q.writeOptions(r.Header)
	if err != nil {
		return err
	}
	if err := refuseConditions(r.Header); err != nil {
		return err
	}
	partition, err := a.valueKey(r)
	if err != nil {
		return err
	}
	return a.writeValue(w, r, opts, partition, func(wr rows.Write) record.Row {
		return record.Row{Deletion: rows.Deletion(wr)}
	})
}

// writeValue writes one row of dunlin.kv and answers.
func (a *API) writeValue(w *answer, r *http.Request, opts coordinator.WriteOptions, partition []byte, row func(rows.Write) record.Row) error {
	out, err := a.write(r.Context(), w, opts, func(wr rows.Write, _ *rows.Maker) error {
		t, err := rows.Table(wr.View(), schema.KVTable)
		if err != nil {
			return err
		}
		tok := token.Of(partition)
		key, err := t.Shape.AppendRowKey(nil, tok, partition, nil)
		if err != nil {
			return fmt.Errorf("httpapi: key of a value: %w", err)
		}
		fragment := row(wr)
		_, err = wr.Add(t, tok, key, fragment.Append(nil))
		return err
	})
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, out)
}

// getValue reads a value.
func (a *API) getValue(w *answer, r *http.Request) error {
	q, err := a.request(r, "r", "receipt")
	if err != nil {
		return err
	}
	opts, err := q.readOptions()
	if err != nil {
		return err
	}
	if err := a.checkLevel(opts.Level, "r"); err != nil {
		return err
	}
	partition, err := a.valueKey(r)
	if err != nil {
		return err
	}
	t, err := rows.Table(a.env.View(), schema.KVTable)
	if err != nil {
		return err
	}
	result, err := a.env.Coordinator.Read(r.Context(), &coordinator.ReadRequest{
		Table: t, Partition: partition, MaxRows: 1, MaxBytes: pageBytes, Options: opts,
	})
	if err != nil {
		return err
	}
	if err := setReceipt(w.Header(), result.Receipt); err != nil {
		return err
	}
	if len(result.Rows) == 0 {
		return &problem.NotFoundError{Detail: "there is no such key"}
	}
	return w.value(r, &result.Rows[0].Row)
}

// value writes a stored value. Whoever stored it does not speak for this node: a
// browser is told not to guess at its type, nor to run anything in it.
func (w *answer) value(r *http.Request, row *record.Row) error {
	value, media := rows.Cell(row, schema.KVValue), string(rows.Cell(row, schema.KVContentType))
	if media == "" {
		media = typeBytes
	}
	timestamp := row.Liveness.Timestamp
	if c := row.Cell(schema.KVValue); c != nil {
		timestamp = c.Timestamp
	}
	tag := etag(timestamp, value, media)
	h := w.Header()
	h.Set("ETag", tag)
	h.Set(headerTimestamp, strconv.FormatInt(timestamp, 10))
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", media)
	h.Set("Content-Length", strconv.Itoa(len(value)))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := w.Write(value)
	return err
}

// etag names a version of a value: its timestamp, and a hash because two writes
// may have the same one.
func etag(timestamp int64, value []byte, media string) string {
	hash := fnv.New64a()
	hash.Write(value)
	hash.Write([]byte(media))
	b := binary.BigEndian.AppendUint64(nil, uint64(timestamp))
	return fmt.Sprintf(`"%x-%x"`, b, hash.Sum(nil))
}

// expiry returns the time to live in seconds, and when it runs out, for a write
// that was accepted at born.
func expiry(born hlc.Timestamp, ttl time.Duration) (seconds uint32, at int64) {
	if ttl <= 0 {
		return 0, 0
	}
	seconds = uint32((ttl + time.Second - 1) / time.Second)
	return seconds, born.Seconds() + int64(seconds)
}
