"""Asset checks that dbt cannot say: converted table against manifest, source system and published state."""
