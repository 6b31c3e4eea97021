package httpapi

import (
	"net/http"

	"github.com/dunlindb/dunlin/httpapi/ingest"
	"github.com/dunlindb/dunlin/httpapi/problem"
)

// postEvents takes NDJSON whose lines name their streams.
func (a *API) postEvents(w *answer, r *http.Request) error {
	media, err := contentType(r.Header)
	if err != nil {
		return err
	}
	if media != ingest.MediaType {
		return &problem.MediaTypeError{Header: "Content-Type", Value: media, Want: ingest.MediaType + " with a stream in each line"}
	}
	return a.ingest(w, r)
}

// ingest stores the lines of a body.
func (a *API) ingest(w *answer, r *http.Request) error {
	q, err := a.request(r, "w", "sloppy", "receipt", "ack")
	if err != nil {
		return err
	}
	form, err := answerForm(&q, r.Header)
	if err != nil {
		return err
	}
	opts, err := q.writeOptions(r.Header)
	if err != nil {
		return err
	}
	if opts.Timeout == 0 {
		opts.Timeout = a.cfg.WriteTimeout
	}
	if err := a.checkLevel(opts.Level, "w"); err != nil {
		return err
	}
	body, err := a.bodyReader(r)
	if err != nil {
		return err
	}
	return a.bulk.Serve(w, r, body, ingest.Request{Options: opts, Stream: q.stream, Form: form})
}

// answerForm reads which form a request wants.
func answerForm(q *request, h http.Header) (ingest.Form, error) {
	ack, given := q.query["ack"]
	switch {
	case given && ack != "errors":
		return 0, problem.BadInput("ack", "is "+problem.Quoted(ack)+": give errors, or leave it out")
	case q.receipt && (given || !accepts(h, ingest.MediaType)):
		return 0, problem.BadInput("receipt", "needs an answer line for each line: send Accept: "+ingest.MediaType+", without ack")
	case given:
		return ingest.Errors, nil
	case accepts(h, ingest.MediaType):
		return ingest.Lines, nil
	}
	return ingest.Summary, nil
}
