package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/dunlindb/dunlin/catalog"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
)

// bodyMax bounds what is read of a request.
const bodyMax = 64 << 10

func (s *Server) plan(w http.ResponseWriter, r *http.Request) {
	var change ChangeRequest
	if !readBody(w, r, &change) || !allowed(w, &change, true) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), operationTimeout)
	defer cancel()
	plan, err := s.env.Node.Plan(ctx, change)
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, plan)
}

func (s *Server) change(w http.ResponseWriter, r *http.Request) {
	var change ChangeRequest
	if !readBody(w, r, &change) || !allowed(w, &change, false) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), operationTimeout)
	defer cancel()
	plan, err := s.env.Node.Change(ctx, change)
	switch {
	case err != nil:
		refuse(w, err)
	case plan.Done:
		answer(w, plan)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		answer(w, plan)
	}
}

func (s *Server) progress(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), operationTimeout)
	defer cancel()
	progress, err := s.env.Node.Progress(ctx)
	switch {
	case err != nil:
		refuse(w, err)
	case progress == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		answer(w, progress)
	}
}

func (s *Server) abort(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), operationTimeout)
	defer cancel()
	aborted, err := s.env.Node.Abort(ctx)
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, aborted)
}

func (s *Server) recoverCluster(w http.ResponseWriter, r *http.Request) {
	var request RecoverRequest
	if !readBody(w, r, &request) {
		return
	}
	for _, needed := range []struct {
		ok            bool
		field, detail string
	}{
		{len(request.Survivors) > 0, "survivors", "give the ids of all members that survive"},
		{request.ClusterName != "", "cluster_name", "give the cluster's name, to confirm that this cluster is meant"},
		{strings.TrimSpace(request.Reason) != "", "reason", "give a reason: it is kept in the catalog"},
	} {
		if !needed.ok {
			fail(w, http.StatusBadRequest, needed.detail, needed.field)
			return
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), operationTimeout)
	defer cancel()
	if err := s.env.Node.Recover(ctx, request); err != nil {
		refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// allowed answers a change that makes no sense whatever the cluster is like.
func allowed(w http.ResponseWriter, change *ChangeRequest, planned bool) bool {
	field, detail := change.missing(planned)
	if field != "" {
		fail(w, http.StatusBadRequest, detail, field)
	}
	return field == ""
}

// refuse answers with what kept a node from planning or changing the layout.
func refuse(w http.ResponseWriter, err error) {
	var (
		conflict interface{ Conflict() bool }
		gains    *ring.GainsError
		majority *catalog.NoMajorityError
		missing  *schema.NotFoundError
	)
	status := http.StatusBadRequest
	switch {
	case errors.As(err, &majority), errors.Is(err, context.DeadlineExceeded), errors.Is(err, catalog.ErrNoCatalog):
		status = http.StatusServiceUnavailable
	case errors.As(err, &conflict) && conflict.Conflict(), errors.Is(err, ring.ErrChanging), errors.As(err, &gains):
		status = http.StatusConflict
	case errors.As(err, &missing):
		status = http.StatusNotFound
	case errors.Is(err, errors.ErrUnsupported):
		status = http.StatusNotImplemented
	}
	fail(w, status, err.Error(), "")
}

// readBody reads a JSON body of known fields, or answers what is wrong with it.
func readBody(w http.ResponseWriter, r *http.Request, into any) bool {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		fail(w, http.StatusUnsupportedMediaType, "give Content-Type application/json", "")
		return false
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyMax))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the JSON object")
		}
	}
	if err == nil {
		return true
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		field = strings.Trim(field, `"`)
		fail(w, http.StatusBadRequest, fmt.Sprintf("there is no field %q in this request", field), field)
		return false
	}
	fail(w, http.StatusBadRequest, "the body cannot be read: "+strings.TrimPrefix(err.Error(), "json: "), "")
	return false
}
