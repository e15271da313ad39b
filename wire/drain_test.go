package wire

import (
	"bytes"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// A drain carries its proof, of all that it says but the proof.
func TestADrainCarriesItsProof(t *testing.T) {
	m := Drain{Pool: "web", Server: "a", Drain: balance.Drain{On: true, At: 20, By: "ann", Reason: "disk", Proof: []byte("proof")}}
	_, payload, _, err := Next(m.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	var got Drain
	if err := got.Decode(payload); err != nil || !bytes.Equal(got.Drain.Proof, m.Drain.Proof) {
		t.Errorf("got %+v, %v, want %+v", got, err, m)
	}
	got.Own()
	clear(payload)
	if string(got.Drain.Proof) != "proof" {
		t.Errorf("the proof is %q once the buffer is used again", got.Drain.Proof)
	}
	bare := m
	bare.Drain.Proof = nil
	if !bytes.Equal(m.Statement(), bare.Append(nil)) || !bytes.Equal(m.Statement(), got.Statement()) {
		t.Errorf("the statement is %q, want %q", m.Statement(), bare.Append(nil))
	}
}

func TestLongDrainsAreRefused(t *testing.T) {
	for what, field := range map[string][]byte{
		"reason": putText(nil, 6, strings.Repeat("r", MaxReason+1), MaxText), "proof": putData(nil, 7, make([]byte, MaxProof+1)), "time": putUint(nil, 4, latestTime+1),
	} {
		if err := new(Drain).Decode(field); err == nil {
			t.Errorf("a %s beyond its bound is taken", what)
		}
	}
}
