package rows

import (
	"encoding/json"

	"github.com/dunlindb/dunlin/coordinator"
)

// Receipt is a coordinator.Receipt as clients see it.
type Receipt struct {
	Version   uint64           `json:"catalog_version"`
	Timestamp int64            `json:"timestamp,omitempty"` // of a write, in microseconds
	Latency   float64          `json:"latency_ms"`
	Replicas  []ReplicaReceipt `json:"replicas"`
	Repaired  bool             `json:"repaired"`
	Hinted    bool             `json:"hinted"`
}

// ReplicaReceipt is one replica's part.
type ReplicaReceipt struct {
	Node    string `json:"node"`
	Outcome string `json:"outcome"`
}

// NewReceipt returns nil for nil.
func NewReceipt(r *coordinator.Receipt) *Receipt {
	if r == nil {
		return nil
	}
	out := &Receipt{
		Version: r.Version, Timestamp: int64(r.Timestamp), Latency: float64(r.Latency.Microseconds()) / 1000,
		Repaired: r.Repaired, Hinted: r.Hinted, Replicas: make([]ReplicaReceipt, len(r.Replicas)),
	}
	for i, replica := range r.Replicas {
		out.Replicas[i] = ReplicaReceipt{Node: replica.Node.String(), Outcome: replica.Outcome}
	}
	return out
}

// ReceiptJSON is a receipt's JSON.
func ReceiptJSON(r *coordinator.Receipt) ([]byte, error) { return json.Marshal(NewReceipt(r)) }
