package kubernetes

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// Values are small values that all masters of the election see, each in a Lease of its own, with a label of its
// own, so that electors do not list them. A Lease whose time is over is used for another value before
// a new one is made: so neither their number grows, nor is the right to delete needed. Methods may be called from any goroutine.
type Values struct{ store *Store }

// Values returns those of the election.
func (s *Store) Values() *Values { return &Values{s} }

const (
	labelValues   = "evenkeel.io/values"
	annotateName  = "evenkeel.io/name"
	annotateValue = "evenkeel.io/value"
	annotateUntil = "evenkeel.io/until" // seconds since 1970
)

func (v *Values) lease(name string) string { return objectName(v.store.cfg.Name, "value", name) }

// over reports whether a value's time is over.
func over(l *lease, now time.Time) bool {
	until, err := strconv.ParseInt(l.Metadata.Annotations[annotateUntil], 10, 64)
	return err != nil || now.After(time.Unix(until+1, 0))
}

// Add keeps a value under a name that is new, until a time.
func (v *Values) Add(ctx context.Context, name string, value []byte, until time.Time) error {
	all, err := v.store.api.list(ctx, labelValues+"="+v.store.cfg.Name)
	if err != nil {
		return err
	}
	told := map[string]string{annotateName: name, annotateValue: string(value), annotateUntil: strconv.FormatInt(until.Unix(), 10)}
	for i := range all {
		l := &all[i]
		if l.Metadata.Annotations[annotateName] == name {
			return errors.New("kubernetes: there is a value of that name")
		}
		if !over(l, time.Now()) {
			continue
		}
		l.Metadata.Annotations = told
		if _, err := v.store.api.update(ctx, *l); !hasCode(err, http.StatusConflict) {
			return err
		}
	}
	l := v.store.blank(v.lease(name), annotateName, name)
	l.Metadata.Labels, l.Metadata.Annotations = map[string]string{labelValues: v.store.cfg.Name}, told
	l.Spec.Holder, l.Spec.Seconds = "values", 1 // which the API wants; what counts is in the annotations
	_, err = v.store.api.create(ctx, l)
	return err
}

// find returns the Lease that has a value; nil: there is none.
func (v *Values) find(ctx context.Context, name string) (*lease, error) {
	all, err := v.store.api.list(ctx, labelValues+"="+v.store.cfg.Name)
	for i := range all {
		if all[i].Metadata.Annotations[annotateName] == name {
			return &all[i], nil
		}
	}
	return nil, err
}

// Get returns a value and its version; nil: there is none.
func (v *Values) Get(ctx context.Context, name string) (value []byte, version string, err error) {
	l, err := v.find(ctx, name)
	if l == nil {
		return nil, "", err
	}
	return []byte(l.Metadata.Annotations[annotateValue]), l.Metadata.ResourceVersion, nil
}

// Names returns those that there are.
func (v *Values) Names(ctx context.Context) (names []string, err error) {
	all, err := v.store.api.list(ctx, labelValues+"="+v.store.cfg.Name)
	for i := range all {
		names = append(names, all[i].Metadata.Annotations[annotateName])
	}
	return names, err
}

// Swap puts a value in the place of one of that version; false: it has changed since, or is gone.
func (v *Values) Swap(ctx context.Context, name, version string, value []byte) (done bool, err error) {
	l, err := v.find(ctx, name)
	if l == nil || l.Metadata.ResourceVersion != version {
		return false, err
	}
	l.Metadata.Annotations[annotateValue] = string(value)
	_, err = v.store.api.update(ctx, *l)
	if hasCode(err, http.StatusConflict) || hasCode(err, http.StatusNotFound) {
		return false, nil
	}
	return err == nil, err
}
