"""Milvus: passages searched in collections whoever made them, documents kept in collections of Hearth's own."""
