package main

import (
	"reflect"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// makePlain replaces, in all texts of what v points to, what cannot be printed. Answers of an API are made so before
// a person reads them, wherever the texts come from: a terminal obeys what it is sent.
func makePlain(v any) { plainValue(reflect.ValueOf(v)) }

func plainValue(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if v.CanSet() {
			v.SetString(balance.PlainText(v.String()))
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			plainValue(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			plainValue(v.Field(i))
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			plainValue(v.Index(i))
		}
	case reflect.Map:
		plainMap(v)
	}
}

// plainMap replaces keys and values, which cannot be changed in place.
func plainMap(m reflect.Value) {
	if m.IsNil() || !m.CanSet() {
		return
	}
	made := reflect.MakeMapWithSize(m.Type(), m.Len())
	for at := m.MapRange(); at.Next(); {
		key, value := reflect.New(m.Type().Key()).Elem(), reflect.New(m.Type().Elem()).Elem()
		key.Set(at.Key())
		value.Set(at.Value())
		plainValue(key)
		plainValue(value)
		made.SetMapIndex(key, value)
	}
	m.Set(made)
}
