DROP TABLE inbox; DROP TABLE deliveries; DROP TABLE notifications;
