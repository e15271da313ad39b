package wire

import (
	"bytes"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// An override carries its proof, of all that it says but the proof.
func TestAnOverrideCarriesItsProof(t *testing.T) {
	m := Override{Pool: "web", Server: "a", Override: balance.Override{On: true, At: 20, By: "ann", Reason: "disk", Proof: []byte("proof")}}
	_, payload, _, err := Next(m.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	var got Override
	if err := got.Decode(payload); err != nil || !bytes.Equal(got.Override.Proof, m.Override.Proof) {
		t.Errorf("got %+v, %v, want %+v", got, err, m)
	}
	got.Own()
	clear(payload)
	if string(got.Override.Proof) != "proof" {
		t.Errorf("the proof is %q once the buffer is used again", got.Override.Proof)
	}
	bare := m
	bare.Override.Proof = nil
	if !bytes.Equal(m.Statement(), bare.Append(nil)) || !bytes.Equal(m.Statement(), got.Statement()) {
		t.Errorf("the statement is %q, want %q", m.Statement(), bare.Append(nil))
	}
}

func TestLongOverridesAreRefused(t *testing.T) {
	for what, field := range map[string][]byte{
		"reason": putText(nil, 6, strings.Repeat("r", MaxReason+1), MaxText), "proof": putData(nil, 7, make([]byte, MaxProof+1)), "time": putUint(nil, 4, latestTime+1),
	} {
		if err := new(Override).Decode(field); err == nil {
			t.Errorf("a %s beyond its bound is taken", what)
		}
	}
}
