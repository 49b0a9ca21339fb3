package layers

// Note is something that the user should know about a recipe and that is no error.
type Note struct {
	// Key of the recipe that it is about, dotted: "ray.version".
	Key string
	// Message is one sentence.
	Message string
}
