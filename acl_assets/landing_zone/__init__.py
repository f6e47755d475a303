"""Export batches: what a batch is, where batches lie, which of them are used, and the sensor that watches them."""
