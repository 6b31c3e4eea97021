package httpapi

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/dunlindb/dunlin/httpapi/problem"
)

// windowMax bounds the memory that a zstd body can ask for. It is the least that
// every decoder must offer (RFC 8878).
const windowMax = 8 << 20

// bodyReader returns a request's body, decompressed as it is read: a small body
// that is large inside costs time, never memory.
// The errors of its Read are *problem.InputError, or io.EOF.
func (a *API) bodyReader(r *http.Request) (io.ReadCloser, error) {
	body, err := a.decompress(r)
	if err != nil {
		return nil, err
	}
	return typedBody{body}, nil
}

// typedBody says what is wrong with a body in words for clients.
type typedBody struct{ io.ReadCloser }

func (t typedBody) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = bodyError(err)
	}
	return n, err
}

func (a *API) decompress(r *http.Request) (io.ReadCloser, error) {
	encodings := r.Header.Values("Content-Encoding")
	for i := range encodings {
		encodings[i] = strings.ToLower(encodings[i])
	}
	switch {
	case len(encodings) == 0 || len(encodings) == 1 && (encodings[0] == "" || encodings[0] == "identity"):
		return io.NopCloser(r.Body), nil
	case len(encodings) == 1 && (encodings[0] == "gzip" || encodings[0] == "x-gzip"):
		return &gzipBody{body: r.Body}, nil
	case len(encodings) == 1 && encodings[0] == "zstd":
		return a.zstdBody(r.Body)
	default:
		return nil, &problem.MediaTypeError{Header: "Content-Encoding", Value: encodings[0], Want: "gzip, zstd or identity"}
	}
}

// zstdBody takes a place among the zstd bodies, which Close gives back.
func (a *API) zstdBody(body io.Reader) (io.ReadCloser, error) {
	select {
	case a.zstd <- struct{}{}:
	default:
		return nil, &problem.BusyError{Count: a.cfg.ZstdBodies, What: "zstd bodies"}
	}
	d, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(windowMax), zstd.WithDecoderMaxMemory(windowMax))
	if err != nil {
		<-a.zstd
		return nil, problem.BadInput("body", "is not valid zstd: "+err.Error())
	}
	return &zstdBody{Decoder: d, places: a.zstd}, nil
}

type zstdBody struct {
	*zstd.Decoder
	places chan struct{}
}

// Close is called once.
func (z *zstdBody) Close() error {
	z.Decoder.Close()
	<-z.places
	return nil
}

// gzipBody reads the gzip header with the first Read, which may block.
type gzipBody struct {
	body io.Reader
	zr   *gzip.Reader
}

func (g *gzipBody) Read(p []byte) (int, error) {
	if g.zr == nil {
		zr, err := gzip.NewReader(g.body)
		if err != nil {
			return 0, err
		}
		g.zr = zr
	}
	return g.zr.Read(p)
}

func (g *gzipBody) Close() error { return nil }

// bodyError is what the end of a body that did not end well means.
func bodyError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problem.BadInput("body", "did not come in time")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return problem.BadInput("body", "ends too early")
	default:
		return problem.BadInput("body", "cannot be read: "+problem.Printable(err.Error()))
	}
}

// readBody reads a body of limited size; what it is called is for the error. Its
// deadline (ServeHTTP) is lifted only when it has been read: net/http reads on
// what a refused body still has.
func (a *API) readBody(w *answer, r *http.Request, what string, limit int) ([]byte, error) {
	body, err := a.bodyReader(r)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if r.ContentLength > int64(limit) && r.Header.Get("Content-Encoding") == "" {
		return nil, &problem.TooLargeError{Field: what, Limit: limit}
	}
	size := int64(512)
	if r.ContentLength > 0 {
		size = min(r.ContentLength, int64(limit)) + 1
	}
	buf := make([]byte, 0, size)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := body.Read(buf[len(buf):min(cap(buf), limit+1)])
		buf = buf[:len(buf)+n]
		switch {
		case len(buf) > limit:
			return nil, &problem.TooLargeError{Field: what, Limit: limit}
		case err == io.EOF:
			w.rc.SetReadDeadline(time.Time{})
			return buf, nil
		case err != nil:
			return nil, err
		}
	}
}
